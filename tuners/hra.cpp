#include "tuners/hra.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include "tuners/initial_values.h"
#include "tuners/reflection.h"

namespace tunefleet::tuners {

HraLinear::HraLinear(const LinearSite& site, const std::string& adapter_name,
                     const HraOptions& options, uint64_t seed)
    : orthogonal_(options.apply_GS) {
  const at::NoGradGuard no_grad;
  const int64_t in = site.in_features(), r = options.r;
  const bool even = options.init_weights && r % 2 == 0;
  // Gram-Schmidt would divide what is left of an equal neighbour, rounding alone, by its length.
  const bool pairs = even && !orthogonal_;
  const RandomStream stream(seed, stream_id(c10::str(site.path, ".hra_u.", adapter_name)));
  u_ = kaiming_values({in, pairs ? r / 2 : r}, even ? r / 2 : r, stream)
           .repeat_interleave(pairs ? 2 : 1, 1)
           .to(site.weight.base.device())
           .set_requires_grad(true);
}

at::Tensor HraLinear::forward(const at::Tensor& x, const LinearNext& next,
                              const ForwardContext&) const {
  return next(reflect(x, {.u = u_, .orthogonal = orthogonal_}));
}

void HraLinear::merge_into(LayerWeights& weights) const {
  weights.weight = reflect_weight(weights.weight, {.u = u_, .orthogonal = orthogonal_});
}

std::vector<LayerTensor> HraLinear::tensors() const { return {{.name = "hra_u", .tensor = u_}}; }

namespace {

Status check_rank(const HraOptions& options, const LinearSite& site) {
  if (options.r <= site.in_features()) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str("hra has more reflections than the layer has inputs, lower r: r ", options.r,
                       ", ", site.path, " has ", site.in_features()));
}

}  // namespace

Result<std::unique_ptr<Adapter>> make_hra(const TunerOptions& options,
                                          const AdapterRequest& request) {
  const auto& own = options.as<HraOptions>();
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        if (auto status = check_rank(own, site); !status) return fail(status.error());
        return std::make_unique<HraLinear>(site, request.name, own, request.seed);
      });
}

}  // namespace tunefleet::tuners
