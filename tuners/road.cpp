#include "tuners/road.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include "tuners/initial_values.h"
#include "tuners/maps/pair_mix.h"

namespace tunefleet::tuners {

RoadLinear::RoadLinear(const LinearSite& site, const std::string& adapter_name,
                       const RoadOptions& options, uint64_t seed)
    : variant_(options.variant), group_size_(options.group_size) {
  const int64_t out = site.out_features();
  const int64_t size = variant_ == "road_1" ? out / 2 : (variant_ == "road_2" ? out : 2 * out);
  const RandomStream for_theta(seed, stream_id(site.path + ".road_theta." + adapter_name));
  const RandomStream for_alpha(seed, stream_id(site.path + ".road_alpha." + adapter_name));
  const bool fixed = options.init_weights;
  theta_ = fixed ? at::zeros({size}, at::kFloat) : normal_values({size}, 0.5, for_theta);
  alpha_ = fixed ? at::ones({size}, at::kFloat) : normal_values({size}, 0.5, for_alpha).add(1.0);
  const at::Device device = site.weight.base.device();
  theta_ = theta_.to(device).set_requires_grad(true);
  alpha_ = alpha_.to(device).set_requires_grad(true);
}

at::Tensor RoadLinear::rotated(const at::Tensor& z) const {
  const int64_t half = group_size_ / 2;
  const bool two_each = variant_ == "road_4";
  // [groups, 1 | 2 (or the halves of road_4's two lists), half]
  const at::Tensor theta = theta_.view({-1, two_each ? 2 * group_size_ : theta_.numel()});
  const at::Tensor alpha = alpha_.view(theta.sizes());
  at::Tensor along, across;  // c and s, [groups, 1 or 2, half]
  if (two_each) {
    const auto part = [&](const at::Tensor& x, int64_t which) {
      return x.slice(1, which * group_size_, (which + 1) * group_size_).reshape({-1, 2, half});
    };
    along = part(alpha, 0).mul(part(theta, 0).cos());
    across = part(alpha, 1).mul(part(theta, 1).sin());
  } else {
    const int64_t rows = variant_ == "road_1" ? 1 : 2;
    along = alpha.mul(theta.cos()).view({-1, rows, half});
    across = alpha.mul(theta.sin()).view({-1, rows, half});
  }
  const at::Tensor first = across.select(1, 0).neg(), second = across.select(1, across.size(1) - 1);
  const at::Tensor both = at::stack({first, second}, 1);
  return mix_pairs(z, along.expand_as(both).flatten(), both.flatten(), half);
}

at::Tensor RoadLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext&) const {
  return rotated(next(x));
}

void RoadLinear::merge_into(LayerWeights& weights) const {
  weights.weight = rotated(weights.weight.t().contiguous()).t().contiguous();
  if (weights.bias.defined()) weights.bias = rotated(weights.bias.unsqueeze(0)).squeeze(0);
}

std::vector<LayerTensor> RoadLinear::tensors() const {
  return {{.name = "road_theta", .tensor = theta_}, {.name = "road_alpha", .tensor = alpha_}};
}

Result<std::unique_ptr<Adapter>> make_road(const TunerOptions& options,
                                           const AdapterRequest& request) {
  const auto& own = options.as<RoadOptions>();
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        if (site.out_features() % own.group_size != 0) {
          return fail(ErrorCode::kInvalidArgument,
                      c10::str("road's group_size must divide the layer's outputs: group_size ",
                               own.group_size, ", ", site.path, " has ", site.out_features()));
        }
        return std::make_unique<RoadLinear>(site, request.name, own, request.seed);
      });
}

}  // namespace tunefleet::tuners
