#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/activations.h"
#include "tuners/adapter.h"
#include "tuners/config/reft_options.h"
#include "tuners/trained_layers.h"

namespace tunefleet::tuners {

/// A free matrix [C, r] that is used as the one with orthonormal columns beside it: the first
/// factor of its QR decomposition, the second having a positive diagonal. Gradients go through the
/// decomposition. Steps of an optimizer leave the matrix askew without changing what it stands for;
/// `straighten` makes it the orthonormal one again.
class OrthonormalColumns {
 public:
  OrthonormalColumns() = default;
  OrthonormalColumns(int64_t rows, int64_t columns, const TunerPlace& place);

  /// [C, r] float32, differentiable. Without gradients, bit for bit what `straighten` leaves.
  at::Tensor columns() const;
  void straighten() const;
  bool defined() const { return matrix_.defined(); }
  const at::Tensor& matrix() const { return matrix_; }  ///< The leaf that trains.

 private:
  at::Tensor matrix_;
};

/// One intervention, on every token of a layer's output h [N, C]:
///   LoReFT   h + (act(h W' + b) - h R) R'      DiReFT   h + act(h W' + b) R'
///   ConsReFT h + (b - h R) R'                  LobiReFT h + b R'
///   NoReFT   h + (act(h W' + b) - h V' - c) V  NoDiReFT h + act(h W' + b) V
/// Shapes: W, V [r, C]; b, c [r]; R [C, r] with orthonormal columns (Rotation). Computed in
/// float32. None is the identity at first: R is a random rotation, W, b, V and c start as torch's
/// linear layers, the b that stands alone as U(0, 1).
/// Source: Wu et al. 2024, arXiv:2404.03592, section 3.2 and appendix; pyreft's interventions.
class ReftIntervention : public ModuleTuner {
 public:
  ReftIntervention(int64_t width, const ReftOptions& options, const ReftArguments& arguments,
                   const TunerPlace& place);

  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext& context) const override;
  /// "learned_source.weight" W, "learned_source.bias" b (of the constant ones: "learned_source"),
  /// "rotate_layer.weight" R, "proj_layer.weight" V, "proj_layer.bias" c.
  std::vector<LayerTensor> tensors() const;

 private:
  at::Tensor change(const at::Tensor& h) const;  ///< What is added to h, float32.
  at::Tensor source(const at::Tensor& h) const;  ///< act(h W' + b), or b.

  bool subtracts_;  ///< Whether what h has in these directions is taken away.
  bool linear_;     ///< act is the identity.
  Activation activation_;
  double dropout_;
  uint64_t stream_;
  TrainedLinear learned_source_;  ///< Weight undefined for the constant ones.
  at::Tensor constant_;           ///< Their b.
  OrthonormalColumns rotation_;   ///< Undefined for those with a free V.
  TrainedLinear projection_;
};

/// ReFT: interventions on the outputs of a model's layers, on all tokens in training as in
/// generation. (pyreft can restrict them to the first and last tokens of a prompt; ms-swift does
/// not.) ms-swift keeps such an adapter in files of pyvene's own; here it is safetensors as any
/// other: keys "<layer>.reft_<name>.rotate_layer.weight".
class ReftAdapter : public Adapter {
 public:
  /// kInvalidArgument: no such layers, or r above their width.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override;
  std::vector<ModulePart> module_tuners() const override;

 private:
  ReftAdapter(const TunerOptions& options, std::string name)
      : name_(std::move(name)), options_(options) {}

  struct Place {
    ModuleSite* site = nullptr;
    std::unique_ptr<ReftIntervention> intervention;
  };
  std::string name_;
  TunerOptions options_;
  std::vector<Place> places_;
};

}  // namespace tunefleet::tuners
