#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "proto/nearest_name.h"
#include "tuners/config/adapter_config.h"
#include "tuners/config/option_values.h"
#include "tuners/config/tuner_schema.h"

/// Options from files and jobs, and into files.
namespace tunefleet::tuners {
namespace {

/// Keeps the file's order: the first matching key of a pattern wins.
using Json = nlohmann::ordered_json;

Error bad(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

std::string shown(std::string_view key, const Json& value) {
  std::string text = value.dump();
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return fmt::format("{} {}", key, text);
}

const FixedKey* find_fixed(const TunerSchema& schema, std::string_view key) {
  for (const auto& fixed : schema.fixed) {
    if (fixed.key == key) return &fixed;
  }
  return nullptr;
}

/// Keys that say what kind of file it is, and who wrote it.
bool describes_the_file(std::string_view key) {
  return key == "peft_type" || key == "swift_type" || key == "peft_version" ||
         key == "auto_mapping" || key == "inference_mode" || key == "model_key_mapping";
}

Status check_fixed(const FixedKey& fixed, const Json& value, const std::string& where) {
  const bool off = value.is_null() || value == false || (value.is_structured() && value.empty());
  if (fixed.ignored || off || value == Json::parse(fixed.json)) return {};
  return fail(
      bad(fmt::format("{}: a setting that is not supported: {}", where, shown(fixed.key, value))));
}

/// PEFT's words for starts that are drawn from data or from the base once: of values already there
/// they say no more than "true".
Json stored_value(std::string_view key, const Json& value) {
  const bool began = key == "init_lora_weights" && (value == "eva" || value == "mica");
  return began ? Json(true) : value;
}

Status set_option(const TunerOption& option, void* options, const Json& value,
                  const std::string& where) {
  const auto wrong = value_from_json(value, option.ref(options));
  if (wrong.empty()) return {};
  return fail(bad(fmt::format("{}: {}: {}", where, wrong, shown(option.key, value))));
}

Result<Json> parse_object(std::string_view text, const std::string& where) {
  Json object = Json::parse(text, nullptr, false);
  if (object.is_object()) return object;
  return fail(bad(fmt::format("{}: not a JSON object", where)));
}

Result<TunerOptions> finish(const TunerSchema& schema, std::shared_ptr<void> value,
                            const std::string& where) {
  if (schema.normalise != nullptr) schema.normalise(value.get());
  TunerOptions options(schema, std::move(value));
  if (auto status = check_options(options); !status) return fail(where, status.error());
  return options;
}

Status check_required(const TunerSchema& schema, const Json& object, const std::string& where) {
  for (const auto& option : schema.options) {
    if (!option.required ||
        (object.contains(option.key) && !object.at(std::string(option.key)).is_null()))
      continue;
    return fail(bad(fmt::format("{}: {} needs a value for {}", where, schema.name, option.key)));
  }
  return {};
}

Error unknown_option(const TunerSchema& schema, const std::string& key, const std::string& where) {
  std::vector<std::string_view> known;
  for (const auto& option : schema.options) known.push_back(option.key);
  if (const auto near = nearest_name(key, known)) {
    return bad(fmt::format("{}: {} has no option `{}`, did you mean `{}`?", where, schema.name, key,
                           *near));
  }
  return bad(fmt::format("{}: {} has no option `{}`; it has {}", where, schema.name, key,
                         fmt::join(known, ", ")));
}

bool belongs(InFiles in, FileLayout layout) {
  return in == InFiles::kBoth ||
         in == (layout == FileLayout::kPeft ? InFiles::kPeftOnly : InFiles::kSwiftOnly);
}

void describe(const TunerSchema& schema, FileLayout layout, nlohmann::json& object) {
  const bool swift = layout == FileLayout::kSwift && !schema.swift_type.empty();
  if (!schema.peft_type.empty()) {
    object["peft_type"] = schema.peft_type;
    object["peft_version"] = kPeftVersion;
    object["auto_mapping"] = nullptr;
    object["inference_mode"] = true;
  }
  if (!swift) return;
  object["swift_type"] = schema.swift_type;
  object["model_key_mapping"] = nullptr;
}

}  // namespace

Result<ReadTunerOptions> read_options(const TunerSchema& schema, std::string_view config_text,
                                      const std::string& file_name) {
  const auto object = parse_object(config_text, file_name);
  if (!object) return fail(object.error());
  auto value = schema.make();
  std::vector<std::string> warnings;
  for (const auto& [key, each] : object->items()) {
    const TunerOption* option = find_option(schema, key);
    const FixedKey* fixed = find_fixed(schema, key);
    Status status{};
    if (option != nullptr)
      status = set_option(*option, value.get(), stored_value(key, each), file_name);
    if (fixed != nullptr) status = check_fixed(*fixed, each, file_name);
    if (!status) return fail(status.error());
    if (option == nullptr && fixed == nullptr && !describes_the_file(key)) {
      warnings.push_back(fmt::format("{}: unknown key ignored: {}", file_name, key));
    }
  }
  auto options = finish(schema, std::move(value), file_name);
  if (!options) return fail(options.error());
  return ReadTunerOptions{.options = *std::move(options), .warnings = std::move(warnings)};
}

Result<TunerOptions> options_from_json(const TunerSchema& schema, std::string_view json,
                                       const std::string& where) {
  const auto object = parse_object(json, where);
  if (!object) return fail(object.error());
  auto value = schema.make();
  for (const auto& [key, each] : object->items()) {
    const TunerOption* option = find_option(schema, key);
    if (option == nullptr) {
      return fail(unknown_option(schema, key, where));
    }
    if (auto status = set_option(*option, value.get(), each, where); !status)
      return fail(status.error());
  }
  if (auto status = check_required(schema, *object, where); !status) return fail(status.error());
  return finish(schema, std::move(value), where);
}

std::string config_text(const TunerOptions& options, FileLayout layout) {
  const TunerSchema& schema = options.schema();
  const auto files = schema.swift_type.empty() ? FileLayout::kPeft : layout;
  nlohmann::json object = nlohmann::json::object();
  for (const auto& fixed : schema.fixed) {
    if (belongs(fixed.in_files, files))
      object[std::string(fixed.key)] = nlohmann::json::parse(fixed.json);
  }
  for (const auto& option : schema.options) {
    if (!belongs(option.in_files, files)) continue;
    object[std::string(option.key)] = nlohmann::json::parse(option_json(options, option));
  }
  describe(schema, files, object);
  return object.dump(2, ' ', true);
}

std::string_view kind_text(const TunerSchema& schema, const TunerOption& option) {
  struct Kind {
    std::string_view operator()(int64_t*) const { return "whole number"; }
    std::string_view operator()(std::optional<int64_t>*) const { return "whole number"; }
    std::string_view operator()(double*) const { return "number"; }
    std::string_view operator()(std::optional<double>*) const { return "number"; }
    std::string_view operator()(bool*) const { return "true or false"; }
    std::string_view operator()(std::optional<bool>*) const { return "true or false"; }
    std::string_view operator()(std::string*) const { return "text"; }
    std::string_view operator()(std::optional<std::string>*) const { return "text"; }
    std::string_view operator()(std::vector<int64_t>*) const { return "list of whole numbers"; }
    std::string_view operator()(std::vector<std::string>*) const { return "list of texts"; }
    std::string_view operator()(Pattern<int64_t>*) const { return "map of whole numbers"; }
    std::string_view operator()(Pattern<double>*) const { return "map of numbers"; }
    std::string_view operator()(ModuleNames*) const { return "names or expression"; }
    std::string_view operator()(std::optional<ModuleNames>*) const { return "names or expression"; }
    std::string_view operator()(TargetModules*) const { return "names or expression"; }
    std::string_view operator()(NumberOrText*) const { return "number or text"; }
    std::string_view operator()(std::optional<NumberOrText>*) const { return "number or text"; }
    std::string_view operator()(JsonText*) const { return "JSON"; }
  };
  return std::visit(Kind{}, option.ref(schema.make().get()));
}

}  // namespace tunefleet::tuners
