#include "tuners/mapped_linear.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include <utility>

namespace tunefleet::tuners {

MappedLinear::MappedLinear(const LinearSite& site, std::string name, const at::Tensor& values,
                           std::shared_ptr<const LinearMap> map)
    : name_(std::move(name)),
      values_(values.to(site.weight.base.device(), at::kFloat).set_requires_grad(true)),
      map_(std::move(map)) {}

at::Tensor MappedLinear::forward(const at::Tensor& x, const LinearNext& next,
                                 const ForwardContext&) const {
  const at::Tensor y = next(x);
  return y.add(map_product(x, y.size(1), {map_, values_}).to(y.scalar_type()));
}

at::Tensor MappedLinear::delta_weight() const { return map_->dense(values_.detach()); }

std::vector<LayerTensor> MappedLinear::tensors() const {
  return {{.name = name_, .tensor = values_}};
}

std::shared_ptr<const LinearMap> SharedMaps::of(const LinearSite& site, int64_t number,
                                                const Make& make) {
  auto& map = maps_[{site.out_features(), site.in_features(), number}];
  if (!map) map = make();
  return map;
}

Status check_frequencies(const std::string& tuner, const LinearSite& site, int64_t count) {
  const int64_t out = site.out_features(), in = site.in_features();
  if (count <= out * in) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str(tuner, " option n_frequency is above the size of the layer: ", count, ", ",
                       site.path, " is [", out, ", ", in, "]"));
}

}  // namespace tunefleet::tuners
