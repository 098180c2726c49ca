#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's ReftConfig: trained interventions on the output of layers (Wu et al. 2024,
/// arXiv:2404.03592). Field names and defaults are the file's.
struct ReftOptions {
  static const TunerSchema& schema();

  /// ms-swift's name of the architecture, by which it finds the layers; unset: "llama". Has no
  /// effect here.
  std::optional<std::string> model_type{};
  std::optional<std::string> layer_key{};  ///< Path of the list of layers; unset: the model's.
  std::vector<int64_t> layers{};           ///< Numbers of the layers; empty: all.
  int64_t r = 4;                           ///< Directions that an intervention changes.
  std::string intervention_type = "LoreftIntervention";
  JsonText args{"{}"};  ///< More settings as an object: act_fn, add_bias, dropout.

  bool operator==(const ReftOptions&) const = default;
};

/// What `args` says.
struct ReftArguments {
  std::string act_fn = "linear";  ///< Around the learned source; one of activation_names().
  bool add_bias = false;          ///< A bias in the projection that is not orthonormal.
  double dropout = 0.0;           ///< Of the layer's output after the intervention, [0, 1).
};
/// kInvalidArgument, naming the key, for what is not such an object, or has a text for one.
Result<ReftArguments> reft_arguments(const ReftOptions& options);

/// kInvalidArgument: bad `args`.
Status validate(const ReftOptions& options);

}  // namespace tunefleet::tuners
