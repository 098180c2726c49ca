#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/side_options.h"
#include "tuners/pass_adapter.h"

namespace tunefleet::tuners {

/// The small network beside a module, by its name in SideOptions; tensors are named as in
/// ms-swift's files.
class SideNetwork {
 public:
  virtual ~SideNetwork() = default;
  /// What went into the module -> what is mixed with what came out.
  virtual at::Tensor forward(const at::Tensor& x) const = 0;
  virtual std::vector<LayerTensor> tensors() const = 0;
};

/// mlp: x [..., dim] -> fc2(gelu(fc1(x))). fcn4: pictures [B, 3, H, W], H and W at least 15, four
/// convolutions, mean, fc -> [B, dim]. alexnet: [B, 3, H, W], H and W at least 63 -> [B, dim].
/// AlexNet starts at random here: torchvision's pretrained weights come with an adapter's file, not
/// with this program.
std::unique_ptr<SideNetwork> make_side_network(const std::string& name, int64_t dim,
                                               const TunerPlace& place);

/// A side network at one module:
///   y = sigmoid(alpha) * module(x) + (1 - sigmoid(alpha)) * side(x), alpha a scalar, 0 at the
///   start
/// Source: Zhang et al. 2019, arXiv:1912.13503, eq. 1, with a trained mixture.
class SideLayer : public PassTuner {
 public:
  SideLayer(std::unique_ptr<SideNetwork> network, const TunerPlace& place);
  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext& context) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  std::unique_ptr<SideNetwork> network_;
  at::Tensor alpha_;  ///< [] float32
};

/// ms-swift's Side: a side network at each of the target modules.
class SideAdapter : public PassAdapter {
 public:
  /// kInvalidArgument: no such place.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

 private:
  using PassAdapter::PassAdapter;
};

}  // namespace tunefleet::tuners
