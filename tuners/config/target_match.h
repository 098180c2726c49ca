#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/python_regex.h"

/// Which modules of a model an adapter acts on: PEFT's rules (peft 0.21,
/// tuners_utils.check_target_module_exists).
namespace tunefleet::tuners {

/// A model as matching sees it: dotted paths, without tensors.
struct ModelModules {
  std::vector<std::string> modules;  ///< Every module, containers included, in module order.
  std::vector<std::string>
      linear;  ///< The linear layers among them, the output embedding included.
  std::vector<std::string> embeddings{};    ///< The embeddings among them.
  std::vector<std::string> convolutions{};  ///< The 2-D convolutions among them.
  std::string output_embedding;             ///< "lm_head"; not part of all-linear.
  std::string model_type;                   ///< "llama": chooses the targets when none are named.
};

/// Every module that holds one of these parameters: "a.b.weight" gives "a" and "a.b". In order of
/// appearance.
std::vector<std::string> modules_of_parameters(const std::vector<std::string>& parameter_paths);

enum class TargetMatch { kNo, kYes, kExcluded };

/// One adapter's rules, compiled once. Immutable.
class TargetMatcher {
 public:
  /// kInvalidArgument when an expression does not compile.
  static Result<TargetMatcher> create(const ModuleSelection& selection);

  /// What the rules say about the module at `path`, in PEFT's order: exclude_modules, what
  /// modules_to_save holds, target_modules, then layers_to_transform. A list entry equal to the
  /// whole path is taken whatever its layer. all-linear is not known here: see match_targets.
  Result<TargetMatch> check(const std::string& path) const;
  /// Whether layers_to_transform and layers_pattern leave the module in; true when they are not
  /// set.
  Result<bool> in_wanted_layer(const std::string& path) const;

 private:
  explicit TargetMatcher(ModuleSelection selection) : options_(std::move(selection)) {}
  Status compile();
  Result<bool> is_excluded(const std::string& path) const;

  ModuleSelection options_;
  std::vector<PythonRegex> target_;   ///< None or one.
  std::vector<PythonRegex> exclude_;  ///< None or one.
  std::vector<PythonRegex> saved_;
  std::vector<PythonRegex> layers_;  ///< Each with the group "idx"; any one of them decides.
};

/// Kinds of layers that a tuner can act on.
struct LayerKinds {
  bool linear = true;
  bool embedding = false;
  bool conv2d = false;
  bool any = false;  ///< Every module, containers included.
};

/// The layers that get an update, in module order. kInvalidArgument when there is none (listing the
/// nearest names), when a match is not of those kinds, or when the model's type has no default
/// targets.
Result<std::vector<std::string>> match_targets(const ModuleSelection& selection,
                                               const ModelModules& model,
                                               const LayerKinds& kinds = {});

/// The shortest list of names that selects exactly `targets` by PEFT's suffix rule: last components
/// where those are enough, whole paths where not. What target_modules is in a file when the job
/// said all-linear.
std::vector<std::string> minimal_names(const std::vector<std::string>& targets,
                                       const ModelModules& model);

/// Up to `count` of `candidates`, nearest to `name` first; each once.
std::vector<std::string> nearest_names(std::string_view name,
                                       const std::vector<std::string>& candidates, size_t count);

/// Whether `path` is `key`, or ends with it after a dot, `key` read as an expression: PEFT's
/// get_pattern_key.
bool pattern_matches(const std::string& key, std::string_view path);

/// The value of the first key that matches; nullptr when none does.
template <typename T>
const T* find_pattern(const Pattern<T>& pattern, std::string_view path) {
  for (const auto& [key, value] : pattern) {
    if (pattern_matches(key, path)) return &value;
  }
  return nullptr;
}

/// ms-swift's word for every embedding among target_modules.
inline constexpr std::string_view kAllEmbedding = "all-embedding";
/// Whether target_modules say kinds of modules, or nothing, in place of names.
bool names_kinds(const TargetModules& targets);

/// Whether this is PEFT's word for every linear layer, in any letter case.
bool is_all_linear(std::string_view name);

}  // namespace tunefleet::tuners
