#include "worker/kernels/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"
#include "worker/kernels/gemm.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Bytes that one chunk's logits may take: large enough for full-speed products, small beside
/// everything else.
constexpr int64_t kChunkBytes = int64_t{24} << 20;

/// Turns logits [c, V] into scale * d loss / d logits in place, and counts.
void finish_chunk(at::Tensor& logits, const at::Tensor& targets, double scale, bool gradient,
                  CrossEntropySums& sums) {
  const int64_t rows = logits.size(0);
  sums.rows += rows;
  if (!has_cpu_loop(logits)) {
    const auto wide = at::log_softmax(logits, -1, at::kFloat);
    const auto picked = wide.gather(1, targets.unsqueeze(1)).squeeze(1);
    sums.loss -= picked.sum(at::kDouble).item<double>();
    sums.correct += picked.eq(std::get<0>(wide.max(-1))).sum().item<int64_t>();
    if (!gradient) return;
    auto d = wide.exp_();
    d.scatter_add_(1, targets.unsqueeze(1), -at::ones({rows, 1}, d.options()));
    logits.copy_(d.mul_(scale));
    return;
  }
  auto losses = at::empty({rows}, at::kFloat);
  auto correct = at::empty({rows}, at::kByte);
  auto* flags = correct.mutable_data_ptr<uint8_t>();
  const auto* wanted = targets.const_data_ptr<int64_t>();
  const auto factor = static_cast<float>(scale);
  if (logits.scalar_type() == at::kFloat) {
    cpu::cross_entropy(f32(logits), wanted, f32(losses), flags, rows, logits.size(1), factor,
                       gradient);
  } else {
    cpu::cross_entropy(bf16(logits), wanted, f32(losses), flags, rows, logits.size(1), factor,
                       gradient);
  }
  const float* loss = f32(losses);
  for (int64_t i = 0; i < rows; ++i) {
    sums.loss += loss[i];
    sums.correct += flags[i];
  }
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden,
                            const at::Tensor& weight, const at::Tensor& targets, double scale,
                            bool gradient, int64_t sums_address) {
    auto& sums = *reinterpret_cast<CrossEntropySums*>(sums_address);
    const double before = sums.loss;
    const int64_t chunk =
        std::max<int64_t>(16, kChunkBytes / (weight.size(0) * weight.element_size()));
    const bool weight_gradient = gradient && weight.requires_grad();
    at::Tensor dhidden;
    at::Tensor dweight;
    if (gradient) dhidden = at::empty_like(hidden);
    if (weight_gradient) dweight = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
    for (int64_t from = 0; from < hidden.size(0); from += chunk) {
      const int64_t rows = std::min(chunk, hidden.size(0) - from);
      const auto part = hidden.narrow(0, from, rows);
      auto logits = matmul_nt(part, weight);
      finish_chunk(logits, targets.narrow(0, from, rows), scale, gradient, sums);
      if (gradient) dhidden.narrow(0, from, rows).copy_(matmul_nn(logits, weight));
      if (weight_gradient) dweight.add_(logits.t().matmul(part));
    }
    ctx->saved_data["dhidden"] = dhidden;
    ctx->saved_data["dweight"] = dweight.defined() ? dweight.to(weight.scalar_type()) : dweight;
    return at::scalar_tensor(scale * (sums.loss - before), hidden.options().dtype(at::kFloat));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto scaled = [&](const char* name) {
      const auto value = ctx->saved_data[name].toTensor();
      return value.defined() ? value * grads[0].to(value.scalar_type()) : value;
    };
    return {scaled("dhidden"), scaled("dweight"), {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                const at::Tensor& targets, double scale, CrossEntropySums* sums) {
  CrossEntropySums local;
  const bool gradient =
      at::GradMode::is_enabled() && (hidden.requires_grad() || weight.requires_grad());
  const auto loss =
      LinearCrossEntropy::apply(hidden, weight, targets, scale, gradient,
                                reinterpret_cast<int64_t>(sums != nullptr ? sums : &local));
  return loss;
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double scale,
                         CrossEntropySums* sums) {
  const auto wide = logits.to(at::kFloat);
  const auto total = at::cross_entropy_loss(wide, targets, {}, at::Reduction::Sum);
  if (sums != nullptr) {
    sums->loss += total.item<double>();
    sums->rows += targets.size(0);
    sums->correct += wide.detach().argmax(-1).eq(targets).sum().item<int64_t>();
  }
  return total * scale;
}

}  // namespace tunefleet::kernels
