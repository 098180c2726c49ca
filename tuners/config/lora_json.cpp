#include "tuners/config/lora_json.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "tuners/config/adapter_config.h"
#include "tuners/config/target_match.h"

namespace tunefleet::tuners {
namespace {

/// Keeps the file's order: the first matching key of a pattern wins.
using Json = nlohmann::ordered_json;

/// Reads members of one object; after the first wrong one only `error` matters.
class Fields {
 public:
  Fields(const Json& object, const std::string& file_name) : object_(object), file_(file_name) {}

  /// The member, or null when it is missing or null. Marks the key as known.
  const Json* find(const char* key) {
    known_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void wrong(const char* key, std::string_view what) {
    if (error_.empty()) error_ = fmt::format("{}: {}: {}", file_, what, shown(key));
  }
  void read(const char* key, int64_t& to) {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number_integer()) return wrong(key, "not a whole number");
    to = value->get<int64_t>();
  }
  void read(const char* key, double& to) {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number()) return wrong(key, "not a number");
    to = value->get<double>();
  }
  void read(const char* key, bool& to) {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) return wrong(key, "not true or false");
    to = value->get<bool>();
  }
  void read(const char* key, std::string& to) {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_string()) return wrong(key, "not a text");
    to = value->get<std::string>();
  }
  template <typename T>
  void read(const char* key, std::optional<T>& to) {
    to.reset();
    if (find(key) == nullptr) return;
    T value{};
    read(key, value);
    to = std::move(value);
  }
  /// A list; one element may stand without brackets.
  template <typename T>
  void read(const char* key, std::vector<T>& to) {
    const Json* value = find(key);
    if (value == nullptr) return;
    try {
      to = value->is_array() ? value->get<std::vector<T>>() : std::vector<T>{value->get<T>()};
    } catch (const nlohmann::json::exception&) {
      wrong(key, "not a list of the right kind");
    }
  }
  template <typename T>
  void read(const char* key, Pattern<T>& to) {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_object()) return wrong(key, "not an object of numbers");
    for (const auto& [name, entry] : value->items()) {
      if (!(std::is_integral_v<T> ? entry.is_number_integer() : entry.is_number())) {
        return wrong(key, "not an object of numbers");
      }
      to.emplace_back(name, entry.template get<T>());
    }
  }
  void ignore(std::initializer_list<const char*> keys) { known_.insert(keys.begin(), keys.end()); }
  /// Refuses a setting that changes what the tensors mean: anything but null, false, [] and {}.
  void refuse(std::initializer_list<const char*> keys, std::string_view why) {
    for (const char* key : keys) {
      const Json* value = find(key);
      const bool off =
          value == nullptr || *value == false || (value->is_structured() && value->empty());
      if (!off) wrong(key, why);
    }
  }
  std::vector<std::string> unknown() const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : object_.items()) {
      if (!known_.contains(key))
        keys.push_back(fmt::format("{}: unknown key ignored: {}", file_, key));
    }
    return keys;
  }
  const std::string& error() const { return error_; }

 private:
  std::string shown(const char* key) const {
    std::string value = object_.at(key).dump();
    if (value.size() > 80) value = value.substr(0, 77) + "...";
    return fmt::format("{} {}", key, value);
  }

  const Json& object_;
  const std::string& file_;
  std::set<std::string> known_;
  std::string error_;
};

void read_targets(Fields& fields, LoraOptions& options) {
  const Json* value = fields.find("target_modules");
  TargetModules& targets = options.target_modules;
  if (value != nullptr && value->is_string()) {
    const auto text = value->get<std::string>();
    if (is_all_linear(text)) {
      targets.all_linear = true;
    } else {
      targets.regex = text;
    }
  } else {
    fields.read("target_modules", targets.names);
  }
  value = fields.find("exclude_modules");
  if (value != nullptr && value->is_string()) {
    options.exclude_modules.regex = value->get<std::string>();
  } else {
    fields.read("exclude_modules", options.exclude_modules.names);
  }
}

void read_init(Fields& fields, LoraOptions& options) {
  const Json* value = fields.find("init_lora_weights");
  if (value == nullptr) return;
  if (value->is_boolean()) {
    options.init_lora_weights = value->get<bool>() ? "true" : "false";
    return;
  }
  fields.read("init_lora_weights", options.init_lora_weights);
  const auto& init = options.init_lora_weights;
  if (init != "gaussian" && init != "orthogonal") {
    fields.wrong("init_lora_weights",
                 "takes true, false, gaussian, orthogonal; others rewrite the base's weights");
  }
}

void read_numbers(Fields& fields, LoraOptions& options) {
  fields.read("r", options.r);
  fields.read("lora_alpha", options.lora_alpha);
  fields.read("lora_dropout", options.lora_dropout);
  fields.read("rank_pattern", options.rank_pattern);
  fields.read("alpha_pattern", options.alpha_pattern);
  fields.read("layers_to_transform", options.layers_to_transform);
  fields.read("layers_pattern", options.layers_pattern);
  fields.read("use_rslora", options.use_rslora);
  fields.read("lorap_lr_ratio", options.lorap_lr_ratio);
  fields.read("lorap_emb_lr", options.lorap_emb_lr);
}

void read_words(Fields& fields, LoraOptions& options) {
  fields.read("modules_to_save", options.modules_to_save);
  fields.read("bias", options.bias);
  fields.read("base_model_name_or_path", options.base_model_name_or_path);
  fields.read("revision", options.revision);
  fields.read("task_type", options.task_type);
  // ms-swift leaves words it does not know alone; so do files.
  fields.read("lora_dtype", options.lora_dtype);
  const auto& dtype = options.lora_dtype;
  if (dtype == "fp32") options.lora_dtype = "float32";
  if (dtype == "fp16") options.lora_dtype = "float16";
  if (dtype == "bf16") options.lora_dtype = "bfloat16";
  if (dtype == "AUTO" || dtype == "auto") options.lora_dtype.reset();
}

/// Settings that are not plain LoRA, and keys without effect on tensors already trained.
void check_the_rest(Fields& fields) {
  fields.refuse(
      {"use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "target_parameters",
       "trainable_token_indices", "layer_replication", "megatron_config", "alora_invocation_tokens",
       "arrow_config", "kasa_config", "monteclora_config", "velora_config", "ensure_weight_tying",
       "use_qa_lora", "use_merged_linear", "enable_lora"},
      "a variant of LoRA that is not supported");
  fields.ignore({"peft_type", "swift_type", "peft_version", "auto_mapping", "inference_mode",
                 "megatron_core", "qalora_group_size", "loftq_config", "eva_config", "corda_config",
                 "lora_ga_config", "model_key_mapping", "group_size", "lora_dtype"});
}

nlohmann::json names_or_null(const std::vector<std::string>& names) {
  return names.empty() ? nlohmann::json() : nlohmann::json(names);
}

template <typename T>
nlohmann::json text_or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

/// Python writes a whole alpha as an integer, as it was given.
nlohmann::json number(double value) {
  const bool whole = std::floor(value) == value && std::abs(value) < 1e15;
  return whole ? nlohmann::json(static_cast<int64_t>(value)) : nlohmann::json(value);
}

nlohmann::json targets_json(const TargetModules& targets) {
  if (targets.regex) return *targets.regex;
  if (targets.all_linear && targets.names.empty()) return "all-linear";
  return names_or_null(targets.names);
}

nlohmann::json init_json(const std::string& init) {
  if (init == "true") return true;
  if (init == "false") return false;
  return init;
}

nlohmann::json peft_object(const LoraOptions& options) {
  nlohmann::json alpha_pattern = nlohmann::json::object();
  for (const auto& [key, alpha] : options.alpha_pattern) alpha_pattern[key] = number(alpha);
  nlohmann::json rank_pattern = nlohmann::json::object();
  for (const auto& [key, r] : options.rank_pattern) rank_pattern[key] = r;
  const auto& exclude = options.exclude_modules;
  const auto& layers = options.layers_to_transform;
  return {{"alora_invocation_tokens", nullptr},
          {"alpha_pattern", alpha_pattern},
          {"arrow_config", nullptr},
          {"auto_mapping", nullptr},
          {"base_model_name_or_path", text_or_null(options.base_model_name_or_path)},
          {"bias", options.bias},
          {"corda_config", nullptr},
          {"ensure_weight_tying", false},
          {"eva_config", nullptr},
          {"exclude_modules",
           exclude.regex ? nlohmann::json(*exclude.regex) : names_or_null(exclude.names)},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"init_lora_weights", init_json(options.init_lora_weights)},
          {"kasa_config", nullptr},
          {"layer_replication", nullptr},
          {"layers_pattern", names_or_null(options.layers_pattern)},
          {"layers_to_transform", layers.empty() ? nlohmann::json() : nlohmann::json(layers)},
          {"loftq_config", nlohmann::json::object()},
          {"lora_alpha", number(options.lora_alpha)},
          {"lora_bias", false},
          {"lora_dropout", options.lora_dropout},
          {"lora_ga_config", nullptr},
          {"megatron_config", nullptr},
          {"megatron_core", "megatron.core"},
          {"modules_to_save", names_or_null(options.modules_to_save)},
          {"monteclora_config", nullptr},
          {"peft_type", "LORA"},
          {"peft_version", kPeftVersion},
          {"qalora_group_size", 16},
          {"r", options.r},
          {"rank_pattern", rank_pattern},
          {"revision", text_or_null(options.revision)},
          {"target_modules", targets_json(options.target_modules)},
          {"target_parameters", nullptr},
          {"task_type", text_or_null(options.task_type)},
          {"trainable_token_indices", nullptr},
          {"use_bdlora", nullptr},
          {"use_dora", false},
          {"use_qalora", false},
          {"use_rslora", options.use_rslora},
          {"velora_config", nullptr}};
}

/// As Python's json.dumps(indent=2, sort_keys=True): sorted, ASCII, no newline at the end.
std::string python_text(const nlohmann::json& object) { return object.dump(2, ' ', true); }

}  // namespace

Result<ReadLoraOptions> read_lora_config(std::string_view text, const std::string& file_name) {
  const auto kind = read_adapter_kind(text, file_name);
  if (!kind) return fail(kind.error());
  const std::string& type = kind->swift_type.empty() ? kind->peft_type : kind->swift_type;
  if (type != "LORA") {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: not the configuration of a LoRA adapter: {}", file_name, type));
  }
  const Json object = Json::parse(text, nullptr, false);
  Fields fields(object, file_name);
  LoraOptions options;
  read_targets(fields, options);
  read_init(fields, options);
  read_numbers(fields, options);
  read_words(fields, options);
  check_the_rest(fields);
  if (!fields.error().empty()) return fail(ErrorCode::kInvalidArgument, fields.error());
  if (auto status = validate(options); !status) return fail(file_name, status.error());
  return ReadLoraOptions{.options = std::move(options), .warnings = fields.unknown()};
}

std::string peft_lora_config(const LoraOptions& options) {
  return python_text(peft_object(options));
}

std::string swift_lora_config(const LoraOptions& options) {
  nlohmann::json object = peft_object(options);
  object["swift_type"] = "LORA";
  object["model_key_mapping"] = nullptr;
  object["use_qa_lora"] = false;
  object["use_merged_linear"] = false;
  object["enable_lora"] = nullptr;
  object["lora_dtype"] = text_or_null(options.lora_dtype);
  object["lorap_lr_ratio"] =
      options.lorap_lr_ratio ? number(*options.lorap_lr_ratio) : nlohmann::json();
  object["lorap_emb_lr"] = options.lorap_emb_lr;
  return python_text(object);
}

}  // namespace tunefleet::tuners
