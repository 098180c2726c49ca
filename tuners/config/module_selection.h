#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// What the configurations of most tuners have in common: where they act, and what they say about
/// themselves.
namespace tunefleet::tuners {

/// Names of modules as PEFT takes them: a list (each name exact, or after a dot at the end of a
/// path) or one regular expression that must match the whole path.
struct ModuleNames {
  std::vector<std::string> names{};
  std::optional<std::string> regex{};  ///< When set, `names` is not looked at.

  bool empty() const { return names.empty() && !regex; }
  bool operator==(const ModuleNames&) const = default;
};

/// Which layers get an update. All members empty: the table of the model's type decides.
struct TargetModules {
  bool all_linear = false;  ///< Every linear layer but the output embedding; `names` come on top.
  std::vector<std::string> names{};
  std::optional<std::string> regex{};  ///< Wins over the others.

  bool unset() const { return !all_linear && names.empty() && !regex; }
  bool operator==(const TargetModules&) const = default;
};

/// Keys of rank_pattern and alpha_pattern in the file's order: the first that matches wins.
template <typename T>
using Pattern = std::vector<std::pair<std::string, T>>;

/// Where a tuner acts and what it trains in full beside; field names are those of PEFT's files.
struct ModuleSelection {
  TargetModules target_modules{};
  ModuleNames exclude_modules{};
  std::vector<std::string>
      modules_to_save{};  ///< Trained in full; a module path ends with the name.
  std::vector<int64_t> layers_to_transform{};  ///< Only these layers; empty: all. Not with a regex.
  std::vector<std::string> layers_pattern{};   ///< Names of the layer list ("layers"); empty: any.
  std::string bias = "none";                   ///< Which biases train: none | all | <tuner>_only.

  bool operator==(const ModuleSelection&) const = default;
};

/// What a file says about the adapter without effect on the maths.
struct AdapterOrigin {
  std::optional<std::string> base_model_name_or_path{};
  std::optional<std::string> revision{};
  std::optional<std::string> task_type = "CAUSAL_LM";

  bool operator==(const AdapterOrigin&) const = default;
};

}  // namespace tunefleet::tuners
