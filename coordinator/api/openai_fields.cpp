#include "coordinator/api/openai_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "proto/job_fields.h"
#include "proto/job_spec.h"
#include "proto/nearest_name.h"
#include "proto/utf8_text.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr double kBaseLearningRate = 1e-4;  // What learning_rate_multiplier multiplies.
constexpr size_t kMaxSuffix = 64;
constexpr size_t kMostAdvice = 100;  // Misspelt names that are told the nearest known one.
constexpr size_t kMaxMetadataPairs = 16;
constexpr size_t kMaxMetadataKey = 64;
constexpr size_t kMaxMetadataValue = 512;
constexpr std::array<std::string_view, 9> kOpenAiFields{
    "model",  "training_file", "validation_file", "suffix",         "seed",
    "method", "metadata",      "integrations",    "hyperparameters"};
constexpr std::array<std::string_view, 3> kOpenAiHyperparameters{"n_epochs", "batch_size",
                                                                 "learning_rate_multiplier"};
constexpr std::array<std::string_view, 2> kMethods{"supervised", "dpo"};

template <size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Fills one TranslatedRequest.
class Translator {
 public:
  explicit Translator(const json& body) : body_(body) {}

  TranslatedRequest translate() {
    read_top_level();
    read_method();
    read_hyperparameters(hyperparameters_of(body_), "hyperparameters");
    map_openai_hyperparameters();
    read_metadata();
    return std::move(result_);
  }

 private:
  void problem(std::string param, std::string message) {
    result_.problems.push_back({std::move(param), std::move(message)});
  }

  const json* given(const char* key) const {
    const auto found = body_.find(key);
    return found == body_.end() || found->is_null() ? nullptr : &*found;
  }

  static const json* hyperparameters_of(const json& object) {
    const auto found = object.find("hyperparameters");
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  void set_job_key(const std::string& key, const json& value, const std::string& where) {
    if (result_.job.contains(key)) return problem(where, fmt::format("{} is given twice", key));
    result_.job[key] = value;
  }

  void read_top_level() {
    for (const auto& [key, value] : body_.items()) {
      if (is_one_of(kOpenAiHyperparameters, key)) {
        openai_[key] = value;
      } else if (!is_one_of(kOpenAiFields, key) && !is_misspelt(key, key)) {
        set_job_key(key, value, key);
      }
    }
    if (const json* seed = given("seed")) result_.job["seed"] = *seed;
    if (const json* suffix = given("suffix")) {
      if (!suffix->is_string())
        problem("suffix", "must be text");
      else if (characters_in(suffix->get_ref<const std::string&>()) > kMaxSuffix) {
        problem("suffix", "has more than 64 characters");
      } else {
        set_job_key("name", *suffix, "suffix");
      }
    }
    if (const json* integrations = given("integrations"); integrations && !integrations->empty()) {
      problem("integrations", "none is supported, leave it out");
    }
  }

  /// The parser knows the job file's keys only; a misspelt field of OpenAI's is told here.
  bool is_misspelt(const std::string& key, const std::string& where) {
    if (find_job_field(key) != nullptr || result_.problems.size() >= kMostAdvice) return false;
    std::vector<std::string_view> known(kOpenAiFields.begin(), kOpenAiFields.end());
    known.insert(known.end(), kOpenAiHyperparameters.begin(), kOpenAiHyperparameters.end());
    const auto near = nearest_name(key, known);
    if (near) problem(where, fmt::format("unknown key, did you mean {}?", *near));
    return near.has_value();
  }

  void read_method() {
    const json* method = given("method");
    if (method == nullptr) return;
    const json type = method->is_object() ? method->value("type", json()) : json();
    if (!type.is_string() || !is_one_of(kMethods, type.get_ref<const std::string&>()))
      return problem("method.type", "must be supervised or dpo");
    const auto& name = type.get_ref<const std::string&>();
    if (name == "dpo") set_job_key("rlhf_type", "dpo", "method.type");
    for (const auto& [key, value] : method->items()) {
      if (key == "type" || value.is_null()) continue;
      if (key != name || !value.is_object()) {
        problem("method." + key, fmt::format("does not belong to the method {}", name));
        continue;
      }
      read_hyperparameters(hyperparameters_of(value),
                           fmt::format("method.{}.hyperparameters", name));
    }
  }

  void read_hyperparameters(const json* values, const std::string& where) {
    if (values == nullptr) return;
    if (!values->is_object()) return problem(where, "must be an object");
    for (const auto& [key, value] : values->items()) {
      const std::string path = where + "." + key;
      if (key == "beta" && value == "auto") continue;  // The job file's default.
      if (!is_one_of(kOpenAiHyperparameters, key)) {
        if (!is_misspelt(key, path)) set_job_key(key, value, path);
      } else if (openai_.contains(key) && openai_[key] != value) {
        problem(path, "is given twice, with different values");
      } else {
        openai_[key] = value;
      }
    }
  }

  /// The number behind one of OpenAI's hyperparameters; nothing for "auto", null and wrong values.
  std::optional<double> hyperparameter(const char* key, bool whole) {
    const auto found = openai_.find(key);
    if (found == openai_.end() || found->is_null() || *found == "auto") return std::nullopt;
    const double number = found->is_number() ? found->get<double>() : 0.0;
    if (number > 0 && std::isfinite(number) && number < 1e9 &&
        (!whole || number == std::floor(number))) {
      return number;
    }
    problem(key,
            fmt::format("must be \"auto\" or a {} above 0: {}", whole ? "whole number" : "number",
                        found->dump(-1, ' ', false, json::error_handler_t::replace)));
    return std::nullopt;
  }

  void map_openai_hyperparameters() {
    if (const auto epochs = hyperparameter("n_epochs", false)) {
      set_job_key("num_train_epochs", *epochs, "n_epochs");
    }
    if (const auto multiplier = hyperparameter("learning_rate_multiplier", false)) {
      set_job_key("learning_rate", *multiplier * kBaseLearningRate, "learning_rate_multiplier");
    }
    if (const auto batch = hyperparameter("batch_size", true)) {
      map_batch_size(static_cast<int64_t>(*batch));
    }
  }

  int64_t whole_job_key(const char* key, int64_t fallback) const {
    const auto found = result_.job.find(key);
    return found != result_.job.end() && found->is_number_integer() ? found->get<int64_t>()
                                                                    : fallback;
  }

  /// OpenAI's batch is the global one: rows of one step over all ranks.
  void map_batch_size(int64_t batch) {
    const int64_t at_once = whole_job_key("per_device_train_batch_size", 1);
    const auto given = result_.job.find("workers");
    const auto range = given == result_.job.end() ? WorkerRange{}
                                                  : worker_range_of(*given).value_or(WorkerRange{});
    const int64_t workers = range.max;
    if (at_once < 1 || workers < 1) return;  // The parser says so.
    if (at_once > batch || workers > batch || batch % (at_once * workers) != 0) {
      return problem("batch_size",
                     fmt::format("must be a multiple of per_device_train_batch_size * workers: "
                                 "{}, {} * {}",
                                 batch, at_once, workers));
    }
    set_job_key("gradient_accumulation_steps", batch / (at_once * workers), "batch_size");
  }

  void read_metadata() {
    const json* metadata = given("metadata");
    if (metadata == nullptr) return;
    if (!metadata->is_object()) return problem("metadata", "must be an object of texts");
    if (metadata->size() > kMaxMetadataPairs) problem("metadata", "has more than 16 pairs");
    for (const auto& [key, value] : metadata->items()) {
      if (characters_in(key) > kMaxMetadataKey)
        problem("metadata", "a key has more than 64 characters");
      if (!value.is_string() ||
          characters_in(value.get_ref<const std::string&>()) > kMaxMetadataValue) {
        problem("metadata." + first_characters(key, kMaxMetadataKey),
                "must be text of at most 512 characters");
      }
    }
    result_.metadata = *metadata;
  }

  const json& body_;
  json openai_ = json::object();  ///< n_epochs, batch_size, learning_rate_multiplier.
  TranslatedRequest result_;
};

}  // namespace

TranslatedRequest translate_openai_fields(const json& body) { return Translator(body).translate(); }

}  // namespace tunefleet::coordinator
