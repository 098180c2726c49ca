#include "tuners/maps/pair_mix.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "tuners/maps/pair_loops.h"
#include "tuners/parallel.h"

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 16384;  ///< Numbers that are worth a thread of their own.

at::Tensor plain(const at::Tensor& x) { return x.to(at::kFloat).contiguous(); }

/// z with the halves of every group in each other's place.
at::Tensor swapped(const at::Tensor& z, int64_t half) {
  return z.view({z.size(0), -1, 2, half}).flip(2).view(z.sizes());
}

loops::Pairs pairs_of(const at::Tensor& along, const at::Tensor& across, int64_t half) {
  return {.width = along.size(0),
          .half = half,
          .along = along.const_data_ptr<float>(),
          .across = across.const_data_ptr<float>()};
}

at::Tensor mixed(const at::Tensor& z, const at::Tensor& along, const at::Tensor& across,
                 int64_t half) {
  if (!z.is_cpu()) return z.mul(along).add_(swapped(z, half).mul_(across));
  auto y = at::empty_like(z);
  const auto pairs = pairs_of(along, across, half);
  const float* from = z.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  at::parallel_for(
      0, z.size(0), std::max<int64_t>(1, kGrain / pairs.width), [&](int64_t first, int64_t last) {
        loops::mix_pairs(pairs, from + first * pairs.width, last - first, to + first * pairs.width);
      });
  return y;
}

struct Gradients {
  at::Tensor z, along, across;
};

/// By groups of features, so that every sum over the rows has one thread.
Gradients gradients_of(const at::Tensor& z, const at::Tensor& along, const at::Tensor& across,
                       int64_t half, const at::Tensor& g, bool wants_dz) {
  if (!z.is_cpu()) {
    const auto crossed = g.mul(across);
    return {.z = wants_dz ? g.mul(along).add_(swapped(crossed, half)) : at::Tensor(),
            .along = g.mul(z).sum(0),
            .across = g.mul(swapped(z, half)).sum(0)};
  }
  Gradients out{.z = wants_dz ? at::empty_like(z) : at::Tensor(),
                .along = at::zeros_like(along),
                .across = at::zeros_like(across)};
  const auto pairs = pairs_of(along, across, half);
  const float *zs = z.const_data_ptr<float>(), *gs = g.const_data_ptr<float>();
  float *dz = wants_dz ? out.z.mutable_data_ptr<float>() : nullptr,
        *of_along = out.along.mutable_data_ptr<float>(),
        *of_across = out.across.mutable_data_ptr<float>();
  const int64_t rows = z.size(0), numbers = std::max<int64_t>(1, rows * 2 * half);
  at::parallel_for(0, pairs.width / (2 * half), std::max<int64_t>(1, kGrain / numbers),
                   [&](int64_t first, int64_t last) {
                     for (int64_t group = first; group < last; ++group)
                       loops::mix_pairs_backward(pairs, group, zs, gs, rows, dz, of_along,
                                                 of_across);
                   });
  return out;
}

class MixPairs : public torch::autograd::Function<MixPairs> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& z, const at::Tensor& along,
                            const at::Tensor& across, int64_t half) {
    ctx->save_for_backward({z, along, across});
    ctx->saved_data["half"] = half;
    return mixed(plain(z), plain(along), plain(across), half).to(z.scalar_type());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto out =
        gradients_of(plain(saved[0]), plain(saved[1]), plain(saved[2]),
                     ctx->saved_data["half"].toInt(), plain(grads[0]), ctx->needs_input_grad(0));
    return {out.z.defined() ? out.z.to(saved[0].scalar_type()) : out.z, out.along, out.across, {}};
  }
};

}  // namespace

at::Tensor mix_pairs(const at::Tensor& z, const at::Tensor& along, const at::Tensor& across,
                     int64_t half) {
  return MixPairs::apply(z, along, across, half);
}

}  // namespace tunefleet::tuners
