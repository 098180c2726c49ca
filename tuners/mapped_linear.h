#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "tuners/linear_adapter.h"
#include "tuners/maps/linear_map.h"

namespace tunefleet::tuners {

/// A tuner that adds a linear map of x, made of one trained tensor, to a frozen linear layer:
///   y = next(x) + x U^T.   Shapes: x [N, in]; y [N, out].
class MappedLinear : public LinearLayerTuner {
 public:
  /// `values` becomes a float32 leaf on the layer's device, called `name` in files.
  MappedLinear(const LinearSite& site, std::string name, const at::Tensor& values,
               std::shared_ptr<const LinearMap> map);

  std::optional<MappedUpdate> mapped() const override { return MappedUpdate{map_, values_}; }
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 protected:
  void set_map(std::shared_ptr<const LinearMap> map) { map_ = std::move(map); }

 private:
  std::string name_;
  at::Tensor values_;
  std::shared_ptr<const LinearMap> map_;
};

/// Maps by the shape of a layer and one number more, each made once.
class SharedMaps {
 public:
  using Make = std::function<std::shared_ptr<const LinearMap>()>;
  std::shared_ptr<const LinearMap> of(const LinearSite& site, int64_t number, const Make& make);

 private:
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const LinearMap>> maps_;
};

/// How many entries of a layer's spectrum [out, in] train; kInvalidArgument, opening with `tuner`,
/// when it has not so many.
Status check_frequencies(const std::string& tuner, const LinearSite& site, int64_t count);

}  // namespace tunefleet::tuners
