#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "tuners/activations.h"
#include "tuners/linear_adapter.h"
#include "tuners/sites.h"
#include "tuners/trained_layers.h"

/// Networks that make virtual tokens from simpler ones, trained along with them. Names of tensors
/// and start values are those of PEFT's encoders.
namespace tunefleet::tuners {

/// [P, in] -> [P, out], float32.
class PromptNetwork {
 public:
  virtual ~PromptNetwork() = default;
  virtual at::Tensor forward(const at::Tensor& tokens, const ForwardContext& context) const = 0;
  virtual std::vector<LayerTensor> tensors() const = 0;
};

/// Linear layers one behind the other with a function between them.
class PromptMlp : public PromptNetwork {
 public:
  /// `widths`: of the tokens, of every layer. Layer i is called "<name>.<2 i>".
  PromptMlp(const std::vector<int64_t>& widths, Activation between, const std::string& name,
            const TunerPlace& place);
  at::Tensor forward(const at::Tensor& tokens, const ForwardContext& context) const override;
  std::vector<LayerTensor> tensors() const override;
  /// Makes the last layer's output zeros.
  void zero_last();

 private:
  Activation between_;
  std::string name_;
  std::vector<TrainedLinear> layers_;
};

/// A bidirectional LSTM over the tokens, then two linear layers with ReLU between.
class PromptLstm : public PromptNetwork {
 public:
  struct Shape {
    int64_t width = 0;   ///< Of tokens in and out.
    int64_t hidden = 0;  ///< Of one direction.
    int64_t layers = 2;
    double dropout = 0.0;  ///< Of each layer's output but the last one's.
  };
  PromptLstm(const Shape& shape, const TunerPlace& place);
  at::Tensor forward(const at::Tensor& tokens, const ForwardContext& context) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  Shape shape_;
  uint64_t stream_;
  /// Of each layer: weight_ih, weight_hh, bias_ih, bias_hh, then those of the way back.
  std::vector<std::vector<at::Tensor>> layers_;
  PromptMlp head_;
};

}  // namespace tunefleet::tuners
