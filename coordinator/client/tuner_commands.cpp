#include "coordinator/client/tuner_commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/text_format.h"
#include "coordinator/client/training_methods.h"
#include "tuners/config/job_flat_keys.h"
#include "tuners/config/tuner_list.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using tuners::InFiles;
using tuners::TunerOption;
using tuners::TunerSchema;

constexpr size_t kWidestDefault = 24;

json or_null(std::string_view text) { return text.empty() ? json() : json(text); }

/// Whose folders a tuner is saved in.
std::vector<std::string_view> formats_of(const TunerSchema& schema) {
  std::vector<std::string_view> formats;
  if (!schema.peft_type.empty()) formats.push_back("peft");
  if (!schema.swift_type.empty()) formats.push_back("ms-swift");
  return formats;
}

std::string_view files_text(InFiles files) {
  switch (files) {
    case InFiles::kBoth:
      return "both";
    case InFiles::kSwiftOnly:
      return "ms-swift";
    case InFiles::kPeftOnly:
      return "peft";
    case InFiles::kNone:
      return "none";
  }
  return "none";
}

/// The job's flat key for an option; empty when it has none.
std::string_view job_key_of(const TunerSchema& schema, const TunerOption& option) {
  for (const auto& key : tuners::flat_keys(schema)) {
    if (key.option == &option) return key.job_key;
  }
  return {};
}

json option_json(const TunerSchema& schema, const tuners::TunerOptions& defaults,
                 const TunerOption& option) {
  return {{"key", option.key},
          {"job_key", or_null(job_key_of(schema, option))},
          {"kind", kind_text(schema, option)},
          {"default", json::parse(tuners::option_json(defaults, option))},
          {"limits", limits_json(option.limits)},
          {"allowed", option.allowed},
          {"required", option.required},
          {"files", files_text(option.in_files)},
          {"help", option.help}};
}

/// The option's meaning, with what it may be and its name in a job.
std::string meaning(const TunerSchema& schema, const TunerOption& option) {
  std::string text(option.help);
  if (std::string limits = option.limits.text(); !limits.empty()) {
    limits.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(limits.front())));
    text += fmt::format(" {}.", limits);
  }
  if (!option.allowed.empty()) text += fmt::format(" One of: {}.", fmt::join(option.allowed, ", "));
  if (const auto key = job_key_of(schema, option); !key.empty() && key != option.key)
    text += fmt::format(" ({})", key);
  return text;
}

std::string default_text(const TunerOption& option, const tuners::TunerOptions& defaults) {
  if (option.required) return "required";
  const auto value = json::parse(tuners::option_json(defaults, option));
  if (value.is_null() || (value.is_structured() && value.empty())) return "-";
  return cut_to_width(value.is_string() ? value.get<std::string>() : value.dump(), kWidestDefault);
}

}  // namespace

json tuner_json(const TunerSchema& schema) {
  const tuners::TunerOptions defaults(schema, schema.make());
  json options = json::array();
  for (const auto& option : schema.options)
    options.push_back(option_json(schema, defaults, option));
  return {{"name", schema.name},
          {"adapter", true},
          {"summary", schema.summary},
          {"source", or_null(schema.source)},
          {"peft_type", or_null(schema.peft_type)},
          {"swift_type", or_null(schema.swift_type)},
          {"formats", formats_of(schema)},
          {"can_merge", schema.can_merge},
          {"options", options}};
}

std::string tuners_table() {
  std::vector<std::vector<std::string>> rows{{"TUNER", "FILES", "MERGES", "WHAT IT IS"}};
  for (const auto* schema : tuners::tuner_schemas()) {
    rows.push_back({std::string(schema->name),
                    fmt::format("{}", fmt::join(formats_of(*schema), ", ")),
                    schema->can_merge ? "yes" : "no", std::string(schema->summary)});
  }
  return format_table(rows, kTunersWidth);
}

std::string tuner_page(const TunerSchema& schema) {
  std::string text = fmt::format("{}: {}\n", schema.name, schema.summary);
  const auto line = [&](std::string_view what, std::string_view value) {
    if (!value.empty()) text += fmt::format("  {:<10}{}\n", what, value);
  };
  line("paper", schema.source);
  if (!schema.peft_type.empty()) line("PEFT", fmt::format("peft_type {}", schema.peft_type));
  if (!schema.swift_type.empty()) line("ms-swift", fmt::format("swift_type {}", schema.swift_type));
  line("merging", schema.can_merge ? "its update can become part of the weights"
                                   : "it cannot become part of the weights");
  line("in a job",
       fmt::format("tuner_type: {0}, or tuners: {{name: {{type: {0}, …}}}}", schema.name));
  const tuners::TunerOptions defaults(schema, schema.make());
  std::vector<std::vector<std::string>> rows{{"OPTION", "KIND", "DEFAULT", "MEANING"}};
  for (const auto& option : schema.options) {
    rows.push_back({std::string(option.key), std::string(kind_text(schema, option)),
                    default_text(option, defaults), meaning(schema, option)});
  }
  return text + "\n" + format_table(rows, kTunersWidth) +
         "\nA name in brackets is the option's in a job with tuner_type.\n";
}

namespace {

int unknown_name(const std::string& name) {
  std::vector<std::string_view> names;
  for (const auto* schema : tuners::tuner_schemas()) names.push_back(schema->name);
  for (const auto& method : training_methods()) names.push_back(method.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return report({ErrorCode::kInvalidArgument, tuners::no_such_tuner(name, names)});
}

/// The page of a tuner, of a method, or of what is both.
int print_one(const std::string& name, bool as_json) {
  const auto schema = tuners::find_tuner_schema(name);
  const TrainingMethod* method = find_training_method(name);
  if (!schema && method == nullptr) return unknown_name(name);
  if (as_json) {
    print_json(schema ? tuner_json(**schema) : training_method_json(*method));
  } else if (!schema) {
    fmt::print("{}", training_method_page(*method, kTunersWidth));
  } else {
    fmt::print("{}", tuner_page(**schema));
    if (method != nullptr) {
      fmt::print("\nBeside another tuner by keys of the job, {}:\n{}", method->settings,
                 job_keys_table(*method, kTunersWidth));
    }
  }
  return kExitOk;
}

void print_all(bool as_json) {
  if (!as_json) {
    fmt::print(
        "{}\nWays of training that are no adapters, by keys of the job:\n{}\n"
        "`tunefleet tuners NAME` tells the options or keys of one.\n",
        tuners_table(), training_methods_table(kTunersWidth));
    return;
  }
  json all = json::array();
  for (const auto* schema : tuners::tuner_schemas()) all.push_back(tuner_json(*schema));
  for (const auto& method : training_methods()) all.push_back(training_method_json(method));
  print_json(all);
}

}  // namespace

int run_tuners(int argc, char** argv) {
  CLI::App app("Lists what a job can train and how, or every option of one", "tunefleet tuners");
  std::string name;
  bool as_json = false;
  app.add_option("NAME", name, "Tell everything about this tuner or way of training");
  app.add_flag("--json", as_json, "JSON for programs instead of text for people");
  app.footer(fmt::format("\nExample: tunefleet tuners lora\n         tunefleet tuners galore\n{}",
                         kExitCodeHelp));
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  if (!name.empty()) return print_one(name, as_json);
  print_all(as_json);
  return kExitOk;
}

}  // namespace tunefleet::coordinator
