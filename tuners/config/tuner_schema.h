#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/limits.h"
#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_options.h"

/// What a tuner's options are, as data: one table drives reading and writing adapter_config.json in
/// both layouts, checking, jobs and the documentation of `tunefleet tuners`.
namespace tunefleet::tuners {

/// A text that a file may also give as a number (hidden_pos, embedding_pos): digits are a number.
struct NumberOrText {
  std::string text;
  bool operator==(const NumberOrText&) const = default;
};
/// Any JSON, kept as text: structures that only the tuner itself understands.
struct JsonText {
  std::string text = "null";
  bool operator==(const JsonText&) const = default;
};

/// A member of an options struct; its type says how the value is read and written. A std::string
/// whose option allows "true" or "false" is written as a bool for these two. A vector may be read
/// from one element without brackets.
using OptionRef =
    std::variant<int64_t*, double*, bool*, std::string*, std::optional<int64_t>*,
                 std::optional<double>*, std::optional<bool>*, std::optional<std::string>*,
                 std::vector<int64_t>*, std::vector<std::string>*, Pattern<int64_t>*,
                 Pattern<double>*, ModuleNames*, std::optional<ModuleNames>*, TargetModules*,
                 NumberOrText*, std::optional<NumberOrText>*, JsonText*>;

/// Which files have the key.
enum class InFiles { kBoth, kSwiftOnly, kPeftOnly, kNone };

/// One option of a tuner.
struct TunerOption {
  std::string_view key;  ///< In the files and in a job's `tuners:` map.
  std::string_view help;
  OptionRef (*ref)(void* options);
  Limits limits = {};
  std::vector<std::string_view> allowed = {};  ///< Of a text; empty: any. A # at the end: digits.
  InFiles in_files = InFiles::kBoth;
  bool required = false;
  /// A double that is written without a point when it is whole, as PEFT's integers are
  /// (lora_alpha).
  bool whole_as_integer = false;
  /// A list that is written without brackets when it has one element: one value for all (dims).
  bool one_as_scalar = false;
};

/// A key of the file that has no effect here: written with this value, and read only with it (or
/// null, false, [], {}).
struct FixedKey {
  std::string_view key;
  std::string_view json;  ///< "null", "false", "16", "\"megatron.core\""
  bool ignored = false;   ///< Any value may be read: it means nothing for tensors already there.
  InFiles in_files = InFiles::kBoth;
};

struct TunerSchema {
  std::string_view name;        ///< A job's tuner_type: "lora", "adalora", "llamapro".
  std::string_view peft_type;   ///< "LORA"; empty when PEFT has no such tuner.
  std::string_view swift_type;  ///< As ms-swift spells it; empty when it has none of its own.
  std::string_view summary;     ///< One line.
  std::string_view source;      ///< "arXiv:2106.09685"
  bool can_merge = false;
  std::vector<TunerOption> options;  ///< The tuner's own first, then the common ones.
  std::vector<FixedKey> fixed = {};
  std::shared_ptr<void> (*make)();              ///< The struct with its defaults.
  std::shared_ptr<void> (*clone)(const void*);  ///< A copy to change.
  Status (*check)(const void*) = nullptr;       ///< What limits cannot say; may be null.
  void (*normalise)(void*) = nullptr;           ///< Older spellings of values; may be null.
  /// The option that is the rank of a factor a layer bounds ("r"): see rank_limit.h. Empty: none
  /// is.
  std::string_view rank_key = {};
};

/// The member of T that `Member` points to, as a TunerOption's `ref`.
template <auto Member>
struct MemberOf;
template <typename T, typename V, V T::*Member>
struct MemberOf<Member> {
  static OptionRef ref(void* options) { return &(static_cast<T*>(options)->*Member); }
};
template <auto Member>
inline constexpr auto ref_of = &MemberOf<Member>::ref;

/// Where the members of ModuleSelection and of AdapterOrigin lie, in their order.
using OptionRefs = std::vector<OptionRef (*)(void*)>;
std::vector<TunerOption> common_selection_rows(const OptionRefs& refs, bool layers,
                                               std::vector<std::string_view> biases);
std::vector<TunerOption> common_origin_rows(const OptionRefs& refs);

/// `make` and `clone` of a schema.
template <typename T>
std::shared_ptr<void> make_options() {
  return std::make_shared<T>();
}
template <typename T>
std::shared_ptr<void> clone_options(const void* options) {
  return std::make_shared<T>(*static_cast<const T*>(options));
}
/// `check` of a schema from a function on the struct: `.check = &checked<VeraOptions, &validate>`.
template <typename T, Status (*Check)(const T&)>
Status checked(const void* options) {
  return Check(*static_cast<const T*>(options));
}

/// The rows of a member `ModuleSelection modules`. `layers`: whether the file has
/// layers_to_transform and layers_pattern; `biases`: the words that bias takes, {} when the file
/// has no bias.
template <typename T>
std::vector<TunerOption> selection_rows(bool layers, std::vector<std::string_view> biases) {
  using Ref = OptionRef (*)(void*);
  constexpr Ref targets = [](void* o) -> OptionRef {
    return &static_cast<T*>(o)->modules.target_modules;
  };
  constexpr Ref exclude = [](void* o) -> OptionRef {
    return &static_cast<T*>(o)->modules.exclude_modules;
  };
  constexpr Ref saved = [](void* o) -> OptionRef {
    return &static_cast<T*>(o)->modules.modules_to_save;
  };
  constexpr Ref numbers = [](void* o) -> OptionRef {
    return &static_cast<T*>(o)->modules.layers_to_transform;
  };
  constexpr Ref pattern = [](void* o) -> OptionRef {
    return &static_cast<T*>(o)->modules.layers_pattern;
  };
  constexpr Ref bias = [](void* o) -> OptionRef { return &static_cast<T*>(o)->modules.bias; };
  return common_selection_rows({targets, exclude, saved, numbers, pattern, bias}, layers,
                               std::move(biases));
}

/// The rows of a member `AdapterOrigin origin`.
template <typename T>
std::vector<TunerOption> origin_rows() {
  using Ref = OptionRef (*)(void*);
  constexpr Ref base = [](void* o) -> OptionRef {
    return &static_cast<T*>(o)->origin.base_model_name_or_path;
  };
  constexpr Ref revision = [](void* o) -> OptionRef {
    return &static_cast<T*>(o)->origin.revision;
  };
  constexpr Ref task = [](void* o) -> OptionRef { return &static_cast<T*>(o)->origin.task_type; };
  return common_origin_rows({base, revision, task});
}

/// The tuner's own rows followed by those of T::modules and T::origin.
template <typename T>
std::vector<TunerOption> with_common_rows(std::vector<TunerOption> own, bool layers = true,
                                          std::vector<std::string_view> biases = {}) {
  const auto append = [&own](const std::vector<TunerOption>& more) {
    own.insert(own.end(), more.begin(), more.end());
  };
  append(selection_rows<T>(layers, std::move(biases)));
  append(origin_rows<T>());
  return own;
}

/// The option of that key; null when there is none.
const TunerOption* find_option(const TunerSchema& schema, std::string_view key);

/// The two layouts an adapter's folder is written in: ms-swift's and PEFT's.
enum class FileLayout { kSwift, kPeft };

/// One option's limits, allowed words and expressions.
Status check_option(const TunerOptions& options, const TunerOption& option);
/// Limits, allowed words, required keys, expressions that do not compile, then the schema's own
/// check. kInvalidArgument, naming the tuner and the key.
Status check_options(const TunerOptions& options);

/// Options read from a file, and what the reader did not know.
struct ReadTunerOptions {
  TunerOptions options;
  std::vector<std::string> warnings;
};
/// Reads adapter_config.json of this tuner in either layout. kInvalidArgument, naming `file_name`
/// and the key, for a wrong type or value and for settings that are not supported. Unknown keys are
/// warnings.
Result<ReadTunerOptions> read_options(const TunerSchema& schema, std::string_view config_text,
                                      const std::string& file_name);
/// Reads options of a job: like a file's, but an unknown key is an error that names the nearest;
/// `where` opens messages. Keys that describe the file (peft_type …) are unknown here.
Result<TunerOptions> options_from_json(const TunerSchema& schema, std::string_view json,
                                       const std::string& where);
/// adapter_config.json as PEFT or ms-swift writes it: Python's json.dumps(indent=2,
/// sort_keys=True).
std::string config_text(const TunerOptions& options, FileLayout layout);
/// The value of one option as JSON text: "8", "null", "[\"q_proj\"]".
std::string option_json(const TunerOptions& options, const TunerOption& option);
/// "whole number", "text", "list of texts", …
std::string_view kind_text(const TunerSchema& schema, const TunerOption& option);

}  // namespace tunefleet::tuners
