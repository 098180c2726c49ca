#include "tuners/ia3.h"

#include <ATen/ops/ones.h>

#include "tuners/config/ia3_options.h"
#include "tuners/initial_values.h"

namespace tunefleet::tuners {

Ia3Linear::Ia3Linear(const LinearSite& site, const std::string& adapter_name, bool feedforward,
                     bool ones, uint64_t seed)
    : feedforward_(feedforward) {
  const std::vector<int64_t> shape = feedforward ? std::vector<int64_t>{1, site.in_features()}
                                                 : std::vector<int64_t>{site.out_features(), 1};
  const RandomStream stream(seed, stream_id(site.path + ".ia3_l." + adapter_name));
  l_ = (ones ? at::ones(shape, at::kFloat) : normal_values(shape, 1.0, stream))
           .to(site.weight.base.device())
           .set_requires_grad(true);
}

namespace {

/// Computed in float32, whatever x is in.
at::Tensor scaled(const at::Tensor& x, const at::Tensor& l) {
  return x.mul(l.flatten()).to(x.scalar_type());
}

}  // namespace

at::Tensor Ia3Linear::forward(const at::Tensor& x, const LinearNext& next,
                              const ForwardContext&) const {
  return feedforward_ ? next(scaled(x, l_)) : scaled(next(x), l_);
}

void Ia3Linear::merge_into(LayerWeights& weights) const {
  weights.weight = weights.weight.mul(l_);
  if (!feedforward_ && weights.bias.defined()) weights.bias = weights.bias.mul(l_.flatten());
}

std::vector<LayerTensor> Ia3Linear::tensors() const { return {{.name = "ia3_l", .tensor = l_}}; }

Result<std::unique_ptr<Adapter>> make_ia3(const TunerOptions& options,
                                          const AdapterRequest& request) {
  const Ia3Options own = with_ia3_defaults(options.as<Ia3Options>(), request.base.model_type());
  return LinearAdapter::make(
      own, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const auto inner = is_feedforward(own, site.path);
        if (!inner) return fail(inner.error());
        return std::make_unique<Ia3Linear>(site, request.name, *inner, own.init_ia3_weights,
                                           request.seed);
      });
}

}  // namespace tunefleet::tuners
