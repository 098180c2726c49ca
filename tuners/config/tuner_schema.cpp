#include "tuners/config/tuner_schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tuners/config/option_values.h"
#include "tuners/config/python_regex.h"

namespace tunefleet::tuners {
namespace {

Error bad(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

Status check_number(std::string_view tuner, const TunerOption& option, double value) {
  if (option.limits.contains(value)) return {};
  return fail(bad(
      fmt::format("{} option {} must be {}: {}", tuner, option.key, option.limits.text(), value)));
}

/// Whether `value` is `word`; a # at the word's end stands for digits.
bool is_word(std::string_view word, std::string_view value) {
  if (!word.ends_with('#')) return value == word;
  word.remove_suffix(1);
  if (!value.starts_with(word)) return false;
  value.remove_prefix(word.size());
  return !value.empty() && value.size() < 10 &&
         value.find_first_not_of("0123456789") == std::string_view::npos;
}

Status check_text(std::string_view tuner, const TunerOption& option, const std::string& value) {
  const auto& words = option.allowed;
  const bool known = std::any_of(words.begin(), words.end(),
                                 [&](std::string_view word) { return is_word(word, value); });
  if (words.empty() || known) return {};
  return fail(bad(fmt::format("{} option {} takes {}: \"{}\"", tuner, option.key,
                              fmt::join(words, ", "), value)));
}

Status check_regex(std::string_view tuner, const TunerOption& option,
                   const std::optional<std::string>& pattern) {
  if (!pattern) return {};
  const auto regex = PythonRegex::compile(*pattern);
  if (regex) return {};
  return fail(fmt::format("{} option {}", tuner, option.key), regex.error());
}

/// Checks one option's value by its limits, words and expressions.
struct CheckValue {
  std::string_view tuner;
  const TunerOption& option;

  Status operator()(const int64_t* v) const {
    return check_number(tuner, option, static_cast<double>(*v));
  }
  Status operator()(const double* v) const { return check_number(tuner, option, *v); }
  Status operator()(const bool*) const { return {}; }
  Status operator()(const std::string* v) const { return check_text(tuner, option, *v); }
  template <typename T>
  Status operator()(const std::optional<T>* v) const {
    return *v ? (*this)(&**v) : Status{};
  }
  template <typename T>
  Status operator()(const std::vector<T>* v) const {
    for (const auto& each : *v) {
      if (auto status = (*this)(&each); !status) return status;
    }
    return {};
  }
  template <typename T>
  Status operator()(const std::pair<std::string, T>* v) const {
    if (auto status = check_regex(tuner, option, v->first); !status) return status;
    return (*this)(&v->second);
  }
  Status operator()(const ModuleNames* v) const { return check_regex(tuner, option, v->regex); }
  Status operator()(const TargetModules* v) const { return check_regex(tuner, option, v->regex); }
  Status operator()(const NumberOrText*) const { return {}; }
  Status operator()(const JsonText*) const { return {}; }
};

/// refs are called with the options of the schema they belong to and do not write.
OptionRef ref_to(const TunerOptions& options, const TunerOption& option) {
  return option.ref(
      const_cast<void*>(options.data()));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

}  // namespace

const TunerOption* find_option(const TunerSchema& schema, std::string_view key) {
  for (const auto& option : schema.options) {
    if (option.key == key) return &option;
  }
  return nullptr;
}

Status check_option(const TunerOptions& options, const TunerOption& option) {
  return std::visit(CheckValue{options.schema().name, option}, ref_to(options, option));
}

Status check_options(const TunerOptions& options) {
  const TunerSchema& schema = options.schema();
  for (const auto& option : schema.options) {
    if (auto status = check_option(options, option); !status) return status;
  }
  return schema.check == nullptr ? Status{} : schema.check(options.data());
}

std::string option_json(const TunerOptions& options, const TunerOption& option) {
  return value_to_json(option, ref_to(options, option)).dump();
}

bool operator==(const TunerOptions& a, const TunerOptions& b) {
  if (&a.schema() != &b.schema()) return false;
  const auto& rows = a.schema().options;
  return std::all_of(rows.begin(), rows.end(), [&](const auto& option) {
    return option_json(a, option) == option_json(b, option);
  });
}

std::vector<TunerOption> common_selection_rows(const OptionRefs& refs, bool layers,
                                               std::vector<std::string_view> biases) {
  std::vector<TunerOption> rows{
      {.key = "target_modules",
       .help = "Names of the modules to tune, matched at the end of their paths; all-linear: every "
               "linear layer but the head; one text: a regular expression for the whole path.",
       .ref = refs[0]},
      {.key = "exclude_modules", .help = "Names of modules to leave alone.", .ref = refs[1]},
      {.key = "modules_to_save", .help = "Modules trained and saved in full.", .ref = refs[2]}};
  if (layers) {
    rows.push_back({.key = "layers_to_transform",
                    .help = "Numbers of the layers to tune; empty: all.",
                    .ref = refs[3],
                    .limits = at_least(0)});
    rows.push_back({.key = "layers_pattern",
                    .help = "Names of the list that holds the layers; empty: any.",
                    .ref = refs[4]});
  }
  if (!biases.empty()) {
    rows.push_back({.key = "bias",
                    .help = "Which biases are trained.",
                    .ref = refs[5],
                    .allowed = std::move(biases)});
  }
  return rows;
}

std::vector<TunerOption> common_origin_rows(const OptionRefs& refs) {
  return {{.key = "base_model_name_or_path", .help = "The base it was made for.", .ref = refs[0]},
          {.key = "revision", .help = "Revision of that base.", .ref = refs[1]},
          {.key = "task_type", .help = "PEFT's word for what the model does.", .ref = refs[2]}};
}

}  // namespace tunefleet::tuners
