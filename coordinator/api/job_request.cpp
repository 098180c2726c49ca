#include "coordinator/api/job_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/api/tuned_model.h"
#include "proto/job_fields.h"
#include "proto/job_spec_parser.h"
#include "proto/nearest_name.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr double kBaseLearningRate = 1e-4;  // What learning_rate_multiplier multiplies.
constexpr size_t kMaxSuffix = 64;
constexpr size_t kMaxMetadataPairs = 16;
constexpr size_t kMaxMetadataKey = 64;
constexpr size_t kMaxMetadataValue = 512;
constexpr std::array<std::string_view, 9> kOpenAiFields{
    "model",  "training_file", "validation_file", "suffix",         "seed",
    "method", "metadata",      "integrations",    "hyperparameters"};
constexpr std::array<std::string_view, 3> kOpenAiHyperparameters{"n_epochs", "batch_size",
                                                                 "learning_rate_multiplier"};

struct RequestProblem {
  std::string param;
  std::string message;
};

template <size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Turns one body into a job, gathering what is wrong on the way.
class Reader {
 public:
  Reader(const json& body, const std::string& owner, const JobResources& resources)
      : body_(body), owner_(owner), resources_(resources) {}

  ApiResult<JobRequest> read() {
    read_top_level();
    read_method();
    read_hyperparameters(hyperparameters_of(body_), "hyperparameters");
    map_openai_hyperparameters();
    read_metadata();
    read_model();
    read_datasets("dataset", "training_file", true);
    read_datasets("val_dataset", "validation_file", false);
    read_earlier_work();
    refuse_output_directory();
    JobRequest result;
    read_spec(result);
    if (unavailable_) return api_fail(to_api_error(*unavailable_));
    if (!problems_.empty()) return api_fail(all_problems());
    result.request = std::move(request_);
    return result;
  }

 private:
  void problem(std::string param, std::string message) {
    problems_.push_back({std::move(param), std::move(message)});
  }

  const json* given(const char* key) const {
    const auto found = body_.find(key);
    return found == body_.end() || found->is_null() ? nullptr : &*found;
  }

  /// A text field of OpenAI's; an empty optional when it is absent or wrong.
  std::optional<std::string> text_field(const char* key) {
    const json* value = given(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return value->get<std::string>();
    problem(key, fmt::format("must be text, it is of type {}", value->type_name()));
    return std::nullopt;
  }

  static const json* hyperparameters_of(const json& object) {
    const auto found = object.find("hyperparameters");
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  void set_job_key(const std::string& key, const json& value, const std::string& where) {
    if (job_.contains(key)) return problem(where, fmt::format("{} is given twice", key));
    job_[key] = value;
  }

  void read_top_level() {
    for (const auto& [key, value] : body_.items()) {
      if (is_one_of(kOpenAiHyperparameters, key)) {
        openai_[key] = value;
      } else if (!is_one_of(kOpenAiFields, key)) {
        check_key(key, key);
        set_job_key(key, value, key);
      }
    }
    if (const json* seed = given("seed")) job_["seed"] = *seed;
    if (const auto suffix = text_field("suffix")) {
      if (suffix->size() > kMaxSuffix) problem("suffix", "has more than 64 characters");
      set_job_key("name", *suffix, "suffix");
    }
    if (const json* integrations = given("integrations"); integrations && !integrations->empty()) {
      problem("integrations", "none is supported, leave it out");
    }
  }

  /// The parser knows the job file's keys only; a misspelt field of OpenAI's is found here.
  void check_key(const std::string& key, const std::string& where) {
    if (find_job_field(key) != nullptr) return;
    std::vector<std::string_view> known(kOpenAiFields.begin(), kOpenAiFields.end());
    known.insert(known.end(), kOpenAiHyperparameters.begin(), kOpenAiHyperparameters.end());
    if (const auto near = nearest_name(key, known)) {
      problem(where, fmt::format("unknown key, did you mean {}?", *near));
      refused_.push_back(key);
    }
  }

  void read_method() {
    const json* method = given("method");
    if (method == nullptr) return;
    const bool supervised = method->is_object() && method->value("type", json()) == "supervised";
    if (!supervised) {
      return problem("method.type", "only supervised is available");
    }
    for (const auto& [key, value] : method->items()) {
      if (key == "type" || value.is_null()) continue;
      if (key != "supervised" || !value.is_object()) {
        problem("method." + key, "does not belong to the method supervised");
        continue;
      }
      read_hyperparameters(hyperparameters_of(value), "method.supervised.hyperparameters");
    }
  }

  void read_hyperparameters(const json* values, const std::string& where) {
    if (values == nullptr) return;
    if (!values->is_object()) return problem(where, "must be an object");
    for (const auto& [key, value] : values->items()) {
      const std::string path = where + "." + key;
      if (!is_one_of(kOpenAiHyperparameters, key)) {
        check_key(key, path);
        set_job_key(key, value, path);
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
    const auto found = job_.find(key);
    return found != job_.end() && found->is_number_integer() ? found->get<int64_t>() : fallback;
  }

  /// OpenAI's batch is the global one: rows of one step over all ranks.
  void map_batch_size(int64_t batch) {
    const int64_t at_once = whole_job_key("per_device_train_batch_size", 1);
    const int64_t workers = whole_job_key("workers", 1);
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
      if (key.size() > kMaxMetadataKey) problem("metadata", "a key has more than 64 characters");
      if (!value.is_string() || value.get_ref<const std::string&>().size() > kMaxMetadataValue) {
        problem("metadata." + key.substr(0, kMaxMetadataKey),
                "must be text of at most 512 characters");
      }
    }
    request_["metadata"] = *metadata;
  }

  void read_model() {
    const auto name = text_field("model");
    if (!name || name->empty()) {
      if (given("model") == nullptr || name) problem("model", "is missing");
      job_["model"] = "unnamed";
      return;
    }
    std::string base = *name;
    if (name->starts_with("ft:")) {
      if (const auto tuned = tuned_model(*name, "model")) {
        base = tuned->base;
        earlier_.push_back(tuned->checkpoint.string());
      } else {
        job_["model"] = *name;
        return;
      }
    }
    request_["model"] = base;
    job_["model"] = base;
    const auto model = resources_.models.find(base);
    if (model) {
      model_path_ = model->path.string();
    } else if (model.error().code == ErrorCode::kNotFound) {
      model_unknown_ = true;
      problem("model", model.error().message);
    } else {
      unavailable_ = model.error();
    }
  }

  std::optional<TunedModel> tuned_model(const std::string& name, const std::string& param) {
    auto found = find_tuned_model(resources_.jobs, resources_.jobs_directory, owner_, name);
    if (found) return std::move(*found);
    if (found.error().code == ErrorCode::kNotFound) {
      if (param == "model") model_unknown_ = true;
      problem(param, found.error().message);
    } else {
      unavailable_ = found.error();
    }
    return std::nullopt;
  }

  /// `field` is OpenAI's (one file), `key` the job file's (a list of files); only one of them may
  /// be given.
  void read_datasets(const char* key, const char* field, bool required) {
    std::vector<std::string> ids;
    if (const auto id = text_field(field)) ids.push_back(*id);
    if (const auto found = job_.find(key); found != job_.end()) {
      if (!ids.empty()) problem(field, fmt::format("give either {} or {}", field, key));
      for (const json& id : found->is_array() ? *found : json::array({*found})) {
        if (id.is_string())
          ids.push_back(id.get<std::string>());
        else
          problem(key, "must be the ids of uploaded files");
      }
      job_.erase(found);
    }
    if (ids.empty() && required && given(field) == nullptr) {
      problem(field, "is missing: upload the data set with POST /v1/files and give its id");
    }
    request_[field] = ids.empty() ? json() : json(ids.front());
    request_[key] = ids;
    json paths = json::array();
    for (const auto& id : ids) paths.push_back(dataset_path(id, field));
    // A stand-in keeps the parser from telling a second time that there is no data.
    if (required && paths.empty()) paths.push_back("missing");
    if (!paths.empty()) job_[key] = paths;
  }

  std::string dataset_path(const std::string& id, const std::string& param) {
    const auto file = resources_.files.get(owner_, id);
    if (!file) {
      problem(param,
              fmt::format("no such file, upload it with POST /v1/files and give its id: {}", id));
    } else if (file->status != "processed") {
      problem(param, fmt::format("the file cannot be used: {}", file->status_details.value_or(id)));
    }
    return resources_.files.content_path(id).string();
  }

  /// adapters and resume_from_checkpoint name tuned models or jobs here, never paths.
  void read_earlier_work() {
    if (const auto found = job_.find("adapters"); found != job_.end()) {
      for (const json& name : found->is_array() ? *found : json::array({*found})) {
        const auto tuned = tuned_model(name.is_string() ? name.get<std::string>() : "", "adapters");
        if (tuned) earlier_.push_back(tuned->checkpoint.string());
      }
    }
    if (!earlier_.empty()) job_["adapters"] = earlier_;
    const auto resume = job_.find("resume_from_checkpoint");
    if (resume == job_.end() || !resume->is_string() || *resume == "latest") return;
    const auto tuned = tuned_model(resume->get<std::string>(), "resume_from_checkpoint");
    if (tuned) *resume = tuned->checkpoint.string();
  }

  void refuse_output_directory() {
    const auto found = job_.find("output_dir");
    if (found == job_.end() || *found == "") return;
    problem("output_dir", "the service chooses it, leave it out");
    job_.erase(found);
  }

  void read_spec(JobRequest& result) {
    for (const auto& key : refused_) job_.erase(key);
    ParsedJob parsed = parse_job_json(job_);
    for (const Problem& found : parsed.problems) problem(found.path, found.message);
    result.spec = std::move(parsed.spec);
    result.spec.model = model_path_;
  }

  ApiError all_problems() const {
    std::string text;
    for (const auto& [param, message] : problems_) {
      text += fmt::format("{}{}{}{}", text.empty() ? "" : "\n", param, param.empty() ? "" : ": ",
                          message);
    }
    ApiError error = bad_request(std::move(text), problems_.front().param);
    if (model_unknown_ && problems_.size() == 1) error.status = 404;
    if (model_unknown_ && problems_.front().param == "model") error.code = "model_not_found";
    return error;
  }

  const json& body_;
  const std::string& owner_;
  const JobResources& resources_;
  json job_ = json::object();     ///< The job file's keys.
  json openai_ = json::object();  ///< n_epochs, batch_size, learning_rate_multiplier.
  json request_ = json::object();
  std::string model_path_;
  bool model_unknown_ = false;
  std::vector<std::string> earlier_;  ///< Checkpoints to start from.
  std::vector<std::string> refused_;  ///< Keys already complained about.
  std::vector<RequestProblem> problems_;
  std::optional<Error> unavailable_;  ///< The store or disk failed: not the client's fault.
};

}  // namespace

ApiResult<JobRequest> read_job_request(const json& body, const std::string& owner,
                                       const JobResources& resources) {
  return Reader(body, owner, resources).read();
}

}  // namespace tunefleet::coordinator
