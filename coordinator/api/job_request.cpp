#include "coordinator/api/job_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/api/openai_fields.h"
#include "coordinator/api/tuned_model.h"
#include "proto/dataset_rows.h"
#include "proto/job_spec_parser.h"
#include "tuners/config/job_options.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kMaxFiles = 1000;    // Of dataset and of val_dataset.
constexpr size_t kMaxAdapters = 100;  // Each is looked up in the store.
constexpr size_t kMaxTold = 100;      // Problems that are told one by one.

/// Turns one body into a job, gathering what is wrong on the way.
class Reader {
 public:
  Reader(const json& body, const std::string& owner, const JobResources& resources)
      : body_(body), owner_(owner), resources_(resources) {}

  ApiResult<JobRequest> read() {
    TranslatedRequest translated = translate_openai_fields(body_);
    job_ = std::move(translated.job);
    problems_ = std::move(translated.problems);
    if (!translated.metadata.is_null()) request_["metadata"] = std::move(translated.metadata);
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
        add_earlier(*name, *tuned);
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
    auto found = find_tuned_model(resources_.jobs, resources_.model_access,
                                  resources_.jobs_directory, owner_, name);
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
      for (const json& id : list_at(*found, key, kMaxFiles)) {
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

  /// The elements of a list, or the one that stands without brackets; nothing of a list that is too
  /// long.
  json list_at(const json& value, const char* key, size_t most) {
    if (!value.is_array()) return json::array({value});
    if (value.size() <= most) return value;
    problem(key, fmt::format("names more than {}", most));
    return json::array();
  }

  std::string dataset_path(const std::string& id, const std::string& param) {
    const auto file = resources_.files.get(owner_, id);
    if (!file) {
      problem(param,
              fmt::format("no such file, upload it with POST /v1/files and give its id: {}", id));
      return "missing";  // What the client wrote becomes no path, not even of a refused job.
    }
    if (file->status != "processed") {
      problem(param, fmt::format("the file cannot be used: {}", file->status_details.value_or(id)));
    }
    files_.emplace_back(param, *file);
    return resources_.files.content_path(file->id).string();
  }

  void add_earlier(const std::string& name, const TunedModel& tuned) {
    earlier_.push_back(tuned.checkpoint.string());
    request_["adapters"].push_back(name);
  }

  /// adapters and resume_from_checkpoint name tuned models or jobs here, never paths.
  void read_earlier_work() {
    if (const auto found = job_.find("adapters"); found != job_.end()) {
      for (const json& name : list_at(*found, "adapters", kMaxAdapters)) {
        const std::string text = name.is_string() ? name.get<std::string>() : "";
        if (const auto tuned = tuned_model(text, "adapters")) add_earlier(text, *tuned);
      }
    }
    if (!earlier_.empty()) job_["adapters"] = earlier_;
    const auto resume = job_.find("resume_from_checkpoint");
    if (resume == job_.end() || !resume->is_string() || *resume == "latest") return;
    request_["resume_from_checkpoint"] = *resume;
    const auto tuned = tuned_model(resume->get<std::string>(), "resume_from_checkpoint");
    if (tuned) *resume = tuned->checkpoint.string();
  }

  void refuse_output_directory() {
    const auto found = job_.find("output_dir");
    if (found == job_.end() || *found == "") return;
    problem("output_dir", "the service chooses it, leave it out");
    job_.erase(found);
  }

  /// All rows are preferences, or none is, as the method wants it.
  void check_files(const JobSpec& spec) {
    const auto wanted = spec.rlhf_type ? RowsWanted::kPreferences : RowsWanted::kSupervised;
    for (const auto& [param, file] : files_) {
      if (file.status != "processed") continue;
      const DatasetSummary summary{.rows = file.rows,
                                   .preferences = file.preferences,
                                   .first_preference = file.first_preference,
                                   .first_supervised = file.first_supervised};
      if (const auto fits = check_rows_wanted(summary, wanted); !fits)
        problem(param, fmt::format("{}: {}", file.filename, fits.error().message));
    }
  }

  void read_spec(JobRequest& result) {
    ParsedJob parsed = parse_job_json(job_, tuners::check_tuners);
    for (const Problem& found : parsed.problems) problem(found.path, found.message);
    if (parsed.problems.empty()) check_files(parsed.spec);
    result.spec = std::move(parsed.spec);
    result.spec.model = model_path_;
  }

  ApiError all_problems() const {
    std::string text;
    const size_t told = std::min(problems_.size(), kMaxTold);
    for (size_t i = 0; i < told; ++i) {
      const auto& [param, message] = problems_[i];
      text += fmt::format("{}{}{}{}", text.empty() ? "" : "\n", param, param.empty() ? "" : ": ",
                          message);
    }
    if (told < problems_.size()) text += fmt::format("\nand {} more", problems_.size() - told);
    ApiError error = bad_request(std::move(text), problems_.front().param);
    if (model_unknown_ && problems_.size() == 1) error.status = 404;
    if (model_unknown_ && problems_.front().param == "model") error.code = "model_not_found";
    return error;
  }

  const json& body_;
  const std::string& owner_;
  const JobResources& resources_;
  json job_ = json::object();  ///< The job file's keys.
  json request_ = json::object();
  std::string model_path_;
  bool model_unknown_ = false;
  std::vector<std::pair<std::string, StoredFile>> files_;  ///< Data sets, under what names them.
  std::vector<std::string> earlier_;                       ///< Checkpoints to start from.
  std::vector<RequestProblem> problems_;
  std::optional<Error> unavailable_;  ///< The store or disk failed: not the client's fault.
};

}  // namespace

ApiResult<JobRequest> read_job_request(const json& body, const std::string& owner,
                                       const JobResources& resources) {
  return Reader(body, owner, resources).read();
}

JobRecord queued_job(const std::string& owner, JobRequest request) {
  JobRecord job;
  job.owner = owner;
  job.phase = JobPhase::kQueued;
  job.priority = request.spec.priority;
  job.workers = job.max_workers = request.spec.workers.max;
  job.min_workers = request.spec.workers.min;
  job.spec = to_json(request.spec);
  job.request = std::move(request.request);
  return job;
}

}  // namespace tunefleet::coordinator
