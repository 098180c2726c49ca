#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/target_match.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {

/// One tensor of a tuner at one layer.
struct LayerTensor {
  /// As PEFT's files have it after the layer's path: "lora_A.weight", "vera_lambda_b".
  std::string name;
  at::Tensor tensor;
  bool trains = true;     ///< False: only saved.
  bool optional = false;  ///< May be missing from a file; then it keeps its value.
  bool decay = true;
  double lr_scale = 1.0;
  bool saved = true;  ///< False: trains but is in no file.
};

/// A tuner at one linear layer with tensors of its own. A new tuner of linear layers derives from
/// this and is put on a model by LinearAdapter.
class LinearLayerTuner : public LinearTuner {
 public:
  virtual std::vector<LayerTensor> tensors() const = 0;
  /// Whether its effect can become part of the weight.
  virtual bool can_merge() const { return true; }
  /// See Adapter::merge_into; the default adds delta_weight().
  virtual void merge_into(LayerWeights& weights) const;
  /// [out, in] float32: the default of merge_into.
  virtual at::Tensor delta_weight() const { return {}; }
};

/// A tuner of linear layers on a whole model: one LinearLayerTuner at every target, and what the
/// options train in full beside them (modules_to_save, biases). Tuners with tensors that all layers
/// share, or with a schedule, derive from it.
class LinearAdapter : public Adapter {
 public:
  using MakeLayer =
      std::function<Result<std::unique_ptr<LinearLayerTuner>>(const LinearSite& site)>;

  /// Finds the targets (option target_modules and its kin, see selection_of), makes a layer at each
  /// and the copies of what trains in full. kInvalidArgument: the options do not fit the model, or
  /// a fresh adapter's rank a layer; what PEFT saved is taken as it is.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request,
                                               const MakeLayer& make_layer);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  /// Of every layer in module order, then saved modules, then biases.
  std::vector<AdapterTensor> tensors() const override;
  std::vector<SiteTuner> linear_tuners() const override;
  std::vector<ParameterOverride> overrides() const override;
  bool can_merge() const override;
  void merge_into(const SiteTuner& part, LayerWeights& weights) const override;
  at::Tensor delta_weight(const SiteTuner& part) const override;
  using Adapter::merge_into;

 protected:
  LinearAdapter(const TunerOptions& options, std::string name)
      : name_(std::move(name)), options_(options) {}
  /// What `make` does, for derived classes. With more `kinds` than linear layers, the others among
  /// targets() are for the derived class.
  Status attach(const AdapterRequest& request, const MakeLayer& make_layer,
                const LayerKinds& kinds = {});

  struct Layer {
    LinearSite* site = nullptr;
    std::unique_ptr<LinearLayerTuner> tuner;
  };
  const std::vector<Layer>& layers() const { return layers_; }
  void set_options(const TunerOptions& options) { options_ = options; }
  /// Paths of the layers it acts on, in module order.
  const std::vector<std::string>& targets() const { return targets_; }
  /// A layer's tensor under its names in files and in the model.
  AdapterTensor named(const LayerTensor& tensor, const LinearSite& site) const {
    return named(tensor, site.path);
  }
  AdapterTensor named(const LayerTensor& tensor, const std::string& path) const;

 private:
  std::string name_;
  TunerOptions options_;  ///< Resolved for the model.
  std::vector<std::string> targets_;
  std::vector<Layer> layers_;  ///< In module order.
  SavedParts saved_;
};

}  // namespace tunefleet::tuners
