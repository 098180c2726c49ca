#include "tuners/hira.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <utility>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

constexpr int64_t kRows = 32;  ///< Of the weight that are worked on while they are in the cache.

/// Calls work(first row, rows) for blocks of rows, on all threads.
template <typename Work>
void over_rows(const at::Tensor& matrix, const Work& work) {
  const int64_t rows = matrix.size(0), blocks = (rows + kRows - 1) / kRows;
  at::parallel_for(0, blocks, 1, [&](int64_t from, int64_t to) {
    const at::NoGradGuard no_grad;  // a thread's own setting
    for (int64_t i = from; i < to; ++i) work(i * kRows, std::min(kRows, rows - i * kRows));
  });
}

/// W o (B A) for values A [r, in] and B [out, r].
class HadamardMap : public WeightMap {
 public:
  explicit HadamardMap(at::Tensor base) : base_(std::move(base)) {}

  at::Tensor added_to(const at::Tensor& weight, const Tensors& values) const override {
    const auto a = values[0].detach(), b = values[1].detach();
    auto sum = at::empty_like(weight);
    over_rows(weight, [&](int64_t first, int64_t count) {
      auto part = sum.narrow(0, first, count);
      const auto factors = b.narrow(0, first, count).matmul(a);
      at::addcmul_out(part, weight.narrow(0, first, count), factors, base_.narrow(0, first, count));
    });
    return sum;
  }

  Tensors gradients(const at::Tensor& grad, const Tensors& values) const override {
    const auto a = values[0].detach(), b = values[1].detach();
    const auto db = at::empty_like(b);
    // One part for each thread, added up in order: the same digits every time.
    Tensors parts(static_cast<size_t>(at::get_num_threads()));
    over_rows(grad, [&](int64_t first, int64_t count) {
      const auto factors =
          grad.narrow(0, first, count).mul(base_.narrow(0, first, count));  // d(B A)
      auto rows = db.narrow(0, first, count);
      at::mm_out(rows, factors, a.t());
      auto& da = parts[static_cast<size_t>(at::get_thread_num())];
      if (!da.defined()) da = at::zeros_like(a);
      da.addmm_(b.narrow(0, first, count).t(), factors);
    });
    auto da = at::zeros_like(a);
    for (const auto& part : parts) {
      if (part.defined()) da.add_(part);
    }
    return {da, db};
  }

 private:
  at::Tensor base_;
};

}  // namespace

HiraLinear::HiraLinear(const LinearSite& site, const std::string& adapter_name,
                       const HiraOptions& options, uint64_t seed)
    : dropout_(options.hira_dropout),
      stream_(stream_id(site.path + ".hira_dropout." + adapter_name)),
      base_(site.weight.base),
      map_(std::make_shared<HadamardMap>(site.weight.base)) {
  const int64_t in = site.in_features(), out = site.out_features();
  const int64_t r = rank_of(options, site.path);
  const RandomStream for_a(seed, stream_id(site.path + ".hira_A." + adapter_name));
  const RandomStream for_b(seed, stream_id(site.path + ".hira_B." + adapter_name));
  const std::string& init = options.init_weights;
  if (init == "true") a_ = kaiming_values({r, in}, in, for_a);
  if (init == "gaussian") a_ = normal_values({r, in}, 1.0 / static_cast<double>(r), for_a);
  if (init == "false") a_ = normal_values({r, in}, 1.0, for_a);
  b_ = init == "false" ? normal_values({out, r}, 1.0, for_b) : at::zeros({out, r}, at::kFloat);
  a_ = a_.to(base_.device()).set_requires_grad(true);
  b_ = b_.to(base_.device()).set_requires_grad(true);
}

std::optional<WeightUpdate> HiraLinear::weight_update(const ForwardContext& context) const {
  // In half precision small updates would vanish in the sum with the weight.
  if ((context.training && dropout_ > 0.0) || base_.scalar_type() != at::kFloat)
    return std::nullopt;
  return WeightUpdate{map_, {a_, b_}};
}

at::Tensor HiraLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  const at::Tensor input = context.dropout(x, stream_, dropout_);
  const at::Tensor update = input.matmul(delta_weight().to(input.scalar_type()).t());
  const at::Tensor y = next(x);
  return y.add(update.to(y.scalar_type()));
}

at::Tensor HiraLinear::delta_weight() const { return b_.matmul(a_).mul(base_); }

std::vector<LayerTensor> HiraLinear::tensors() const {
  return {{.name = "hira_A", .tensor = a_}, {.name = "hira_B", .tensor = b_}};
}

Result<std::unique_ptr<Adapter>> make_hira(const TunerOptions& options,
                                           const AdapterRequest& request) {
  const auto& own = options.as<HiraOptions>();
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        return std::make_unique<HiraLinear>(site, request.name, own, request.seed);
      });
}

}  // namespace tunefleet::tuners
