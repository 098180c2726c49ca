#include "tuners/oft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <cmath>
#include <numeric>

#include "tuners/initial_values.h"
#include "tuners/rotation.h"

namespace tunefleet::tuners {

OftLinear::OftLinear(const LinearSite& site, const std::string& adapter_name,
                     const OftOptions& options, uint64_t seed)
    : block_size_(oft_block_size(options, site.in_features())),
      coft_(options.coft),
      series_(options.use_cayley_neumann),
      eps_(options.eps),
      terms_(options.num_cayley_neumann_terms),
      dropout_(options.module_dropout),
      stream_(stream_id(c10::str(site.path, ".oft_dropout.", adapter_name))) {
  const at::NoGradGuard no_grad;
  const int64_t blocks = options.block_share ? 1 : site.in_features() / block_size_;
  const std::vector<int64_t> shape{blocks, block_size_ * (block_size_ - 1) / 2};
  const RandomStream stream(seed, stream_id(c10::str(site.path, ".oft_R.", adapter_name)));
  entries_ =
      (options.init_weights ? at::zeros(shape, at::kFloat) : normal_values(shape, 0.1, stream))
          .to(site.weight.base.device())
          .set_requires_grad(true);
}

/// COFT (section 3.3): every Q_k within eps / sqrt(n) of zero, in the Frobenius norm, which is
/// sqrt(2) times that of its upper triangle.
void OftLinear::constrain() const {
  const at::NoGradGuard no_grad;
  const double bound = eps_ / std::sqrt(static_cast<double>(entries_.size(0)));
  const auto norm = entries_.square().sum(1, /*keepdim=*/true).mul_(2.0).sqrt_();
  // Not what rounding alone has put over the bound: that would never end.
  const auto over = norm.gt(bound * (1.0 + 1e-6));
  if (!over.any().item<bool>()) return;
  entries_.detach().copy_(at::where(over, entries_.mul(norm.reciprocal().mul_(bound)), entries_));
}

at::Tensor OftLinear::rotation() const {
  if (coft_) constrain();
  return series_ ? skew_cayley_neumann(entries_, block_size_, terms_)
                 : cayley(skew_symmetric(entries_, block_size_));
}

at::Tensor OftLinear::forward(const at::Tensor& x, const LinearNext& next,
                              const ForwardContext& context) const {
  auto d = rotation();
  const auto kept = resting_blocks(d.size(0), dropout_, stream_, context, d.device());
  if (kept.defined()) d = d.mul(kept);
  return next(rotate_blocks(x, d));
}

void OftLinear::merge_into(LayerWeights& weights) const {
  weights.weight = rotate_blocks(weights.weight, rotation().transpose(1, 2));
}

std::vector<LayerTensor> OftLinear::tensors() const {
  return {{.name = "oft_R.weight", .tensor = entries_}};
}

Result<std::unique_ptr<Adapter>> make_oft(const TunerOptions& options,
                                          const AdapterRequest& request) {
  const auto& own = options.as<OftOptions>();
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        return std::make_unique<OftLinear>(site, request.name, own, request.seed);
      });
}

at::Tensor resting_blocks(int64_t count, double share, uint64_t stream,
                          const ForwardContext& context, const at::Device& device) {
  const auto resting = static_cast<int64_t>(share * static_cast<double>(count));
  if (!context.training || resting == 0 || count == 1) return {};
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  RandomStream draws(context.seed, mix(stream, static_cast<uint64_t>(context.step)));
  at::Tensor kept = at::ones({count, 1, 1}, at::kFloat);
  float* values = kept.mutable_data_ptr<float>();
  for (int64_t i = 0; i < resting; ++i) {  // Fisher-Yates, only as far as needed
    const auto left = static_cast<uint64_t>(count - i);
    std::swap(order[static_cast<size_t>(i)],
              order[static_cast<size_t>(i) + static_cast<size_t>(draws.next() % left)]);
    values[order[static_cast<size_t>(i)]] = 0.0F;
  }
  return kept.to(device);
}

}  // namespace tunefleet::tuners
