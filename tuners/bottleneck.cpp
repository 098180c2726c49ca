#include "tuners/bottleneck.h"

#include <c10/util/StringUtil.h>

#include <utility>

namespace tunefleet::tuners {
namespace {

/// The width of what the site gives; 0 when the model does not say.
int64_t width_of(const PassSite& site, BaseModel& base) {
  if (site.linear != nullptr) return site.linear->out_features();
  if (site.conv != nullptr || base.sequence_site() == nullptr) return 0;
  return base.sequence_site()->hidden_size;
}

/// The one width of all targets, which `dim` is or must be.
Result<int64_t> common_width(const BottleneckOptions& options, const std::vector<PassSite>& sites,
                             BaseModel& base) {
  int64_t dim = options.dim.value_or(0);
  for (const auto& site : sites) {
    const int64_t width = width_of(site, base);
    if (dim == 0) dim = width;
    if (width == 0 || width == dim) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("adapter needs modules whose output has the width dim: ", site.path, " ",
                         width, ", dim ", dim));
  }
  if (dim > 0) return dim;
  return fail(ErrorCode::kInvalidArgument,
              "adapter needs dim, the width of the modules' output: " + sites.front().path);
}

}  // namespace

BottleneckLayer::BottleneckLayer(int64_t dim, const BottleneckOptions& options,
                                 const TunerPlace& place)
    : activation_(activation(options.act_layer)),
      linear1_(TrainedLinear::make(dim, options.adapter_length, LayerStart::kXavier,
                                   place.inside("linear1"))),
      linear2_(TrainedLinear::make(options.adapter_length, dim, LayerStart::kXavier,
                                   place.inside("linear2"))) {}

at::Tensor BottleneckLayer::forward(const at::Tensor& x, const TensorNext& next,
                                    const ForwardContext&) const {
  const at::Tensor y = next(x);
  const at::Tensor wide = y.to(at::kFloat);
  return wide.add(linear2_(activation_(linear1_(wide)))).to(y.scalar_type());
}

std::vector<LayerTensor> BottleneckLayer::tensors() const {
  std::vector<LayerTensor> tensors;
  linear1_.append("linear1", tensors);
  linear2_.append("linear2", tensors);
  return tensors;
}

Result<std::unique_ptr<Adapter>> BottleneckAdapter::make(const TunerOptions& options,
                                                         const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  auto resolved = options.as<BottleneckOptions>();
  const PassSites places(request.base);
  const auto sites = places.matching(resolved.target_modules, "adapter");
  if (!sites) return fail(sites.error());
  const auto dim = common_width(resolved, *sites, request.base);
  if (!dim) return fail(dim.error());
  resolved.dim = *dim;
  std::unique_ptr<BottleneckAdapter> adapter(new BottleneckAdapter(resolved, request.name));
  for (const auto& site : *sites) {
    const std::string stem = "adapter_{}";
    const TunerPlace place{adapter->with_name(site.path + "." + stem), request.seed,
                           places.device()};
    adapter->attach(site, std::make_unique<BottleneckLayer>(*dim, resolved, place), stem);
  }
  return adapter;
}

}  // namespace tunefleet::tuners
