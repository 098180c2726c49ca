#include "tuners/hira.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include "tuners/initial_values.h"
#include "tuners/maps/hadamard_map.h"

namespace tunefleet::tuners {

HiraLinear::HiraLinear(const LinearSite& site, const std::string& adapter_name,
                       const HiraOptions& options, uint64_t seed)
    : dropout_(options.hira_dropout),
      stream_(stream_id(site.path + ".hira_dropout." + adapter_name)),
      base_(site.weight.base),
      map_(hadamard_map(site.weight.base)) {
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
