#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/activations.h"
#include "tuners/config/bottleneck_options.h"
#include "tuners/pass_adapter.h"
#include "tuners/trained_layers.h"

namespace tunefleet::tuners {

/// A bottleneck behind one module:
///   y = next(x);  y + W2 act(W1 y + b1) + b2
/// Shapes: y [N, dim]; W1 [adapter_length, dim]; W2 [dim, adapter_length]. Computed in float32 and
/// rounded to y's dtype. Not the identity at first: the weights start as Xavier's, the biases as
/// N(0, 1e-6^2).
/// Source: Houlsby et al. 2019, arXiv:1902.00751, fig. 2; start values as ms-swift has them.
class BottleneckLayer : public PassTuner {
 public:
  BottleneckLayer(int64_t dim, const BottleneckOptions& options, const TunerPlace& place);

  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext& context) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  Activation activation_;
  TrainedLinear linear1_, linear2_;
};

/// ms-swift's Adapter: a BottleneckLayer behind every target, by default behind the feed-forward
/// block of each layer. Keys: "<module>.adapter_<name>.linear1.weight".
class BottleneckAdapter : public PassAdapter {
 public:
  /// kInvalidArgument: no such module, or an output of another width than `dim`.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

 private:
  using PassAdapter::PassAdapter;
};

}  // namespace tunefleet::tuners
