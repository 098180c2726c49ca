#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/full_options.h"

namespace tunefleet::tuners {

/// Full tuning as an adapter: trained copies stand in the places of the base's parameters, all of
/// them or some (FullOptions), so that the base stays as it is and comes back when the adapter is
/// deactivated. A tied output embedding shares the embedding's copy. Chosen linear weights are kept
/// in 8 bits (Int8Weight) instead of as a copy.
///
/// With LISA only the layers of the current draw train, beside everything that is in no layer; all
/// others require no gradient and keep their values.
class FullAdapter : public Adapter {
 public:
  /// kInvalidArgument: see trained_parameters(); LISA on a model without a list of layers, or with
  /// more layers than it has; int8_modules that name no linear layer.
  static Result<std::unique_ptr<FullAdapter>> make(const FullOptions& options,
                                                   const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  /// In the order of the model; path and key are the parameter's own.
  std::vector<AdapterTensor> tensors() const override;
  std::vector<SiteTuner> linear_tuners() const override;
  std::vector<ParameterOverride> overrides() const override;
  bool can_merge() const override { return true; }
  bool replaces_base() const override { return true; }
  void merge_into(const SiteTuner& part, LayerWeights& weights) const override;
  using Adapter::merge_into;

  /// LISA draws anew when the interval is over.
  bool before_step(const StepInfo& info) override;
  /// The parts of the 8-bit weights, "<path>.int8.codes" and so on.
  std::vector<AdapterTensor> state() const override;

  /// LISA's layers from now on. True: what trains has changed.
  bool train_layers(const std::vector<int64_t>& layers);

  /// The value that stands for a parameter of the base now, in the base's dtype; the base's own
  /// where nothing trains.
  at::Tensor value_of(const ParameterSlot& slot) const;
  /// Takes over the values of a model directory that full tuning saved. kNotFound and
  /// kInvalidArgument name the tensor that is missing or has another shape.
  Status load(const std::filesystem::path& directory);

 private:
  class Int8Tuner;
  /// One parameter that trains, at one slot or, tied, at two.
  struct Part {
    std::vector<ParameterSlot*> slots;
    LinearSite* site = nullptr;        ///< Set with `int8`.
    at::Tensor copy;                   ///< Or the stand-in of `int8`.
    std::shared_ptr<Int8Weight> int8;  ///< Null: `copy` holds the values.
    std::shared_ptr<const Int8Tuner> tuner;
    int64_t layer = -1;  ///< In the list of layers; -1: in none.
    bool trains = true;

    const std::string& path() const { return slots.front()->path; }
  };

  FullAdapter(const FullOptions& options, std::string name);
  const FullOptions& full() const { return options_.as<FullOptions>(); }
  Status add_parts(BaseModel& base);
  void keep_in_8_bits(Part& part, LinearSite& site);
  Status check_lisa(BaseModel& base) const;
  const Part* part_of(const ParameterSlot& slot) const;

  std::string name_;
  TunerOptions options_;
  std::vector<Part> parts_;
  int64_t layers_ = 0;  ///< In the model's list.
  int64_t draw_ = -1;   ///< LISA's, whose layers train now.
};

}  // namespace tunefleet::tuners
