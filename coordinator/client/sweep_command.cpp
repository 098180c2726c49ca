#include "coordinator/client/sweep_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/job_upload.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/text_format.h"
#include "proto/job_spec_parser.h"
#include "proto/job_tree.h"
#include "tuners/config/job_options.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr const char* kSweeps = "/v1/fine_tuning/sweeps";
constexpr const char* kSection = "sweep";

std::string path_of(const std::string& id) {
  return std::string(kSweeps) + "/" + escaped_segment(id);
}

/// The file as one JSON object: a job's keys, and the section `sweep`.
Result<json> read_sweep_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    return fail(ErrorCode::kNotFound, fmt::format("cannot read the file: {}", path.string()));
  }
  const auto tree =
      path.extension() == ".json" ? read_json_tree(text.str()) : read_yaml_tree(text.str());
  if (!tree) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}:{}: {}", path.string(), tree.error().line, tree.error().message));
  }
  json object = json_of_tree(*tree);
  if (object.is_object() && object.contains(kSection)) return object;
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: has no section sweep; a job alone is for `tunefleet submit`",
                          path.string()));
}

/// The body of the request, its data sets uploaded; every problem of the job's own keys at once.
Result<json> request_of(ApiClient& client, const std::filesystem::path& path) {
  auto object = read_sweep_file(path);
  if (!object) return object;
  json job = *object;
  job.erase(kSection);
  const auto parsed = parse_job_json(job, tuners::check_tuners);
  const auto spec = to_result(parsed);
  if (!spec) return fail(path.string(), spec.error());
  const auto uploaded = upload_datasets(client, *spec, path.parent_path(), {});
  if (!uploaded) return fail(uploaded.error());
  // The file's own keys and no others: what it leaves open follows from each job's values.
  for (const char* key : {"dataset", "val_dataset"})
    if (const json ids = field_at(*uploaded, key); !ids.empty()) (*object)[key] = ids;
  return object;
}

std::string values_text(const json& values) {
  std::string text;
  for (const auto& [key, value] : values.items()) {
    const std::string shown =
        value.is_number_float() ? fmt::format("{:.4g}", value.get<double>()) : to_line(value);
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, shown);
  }
  return printable(text);
}

std::string metric_text(const json& job) {
  const auto metric = number_at(job, "metric");
  return metric ? fmt::format("{:.4f}", *metric) : "-";
}

std::string steps_text(const json& job) {
  const auto step = whole_at(job, "step");
  return step ? fmt::format("{}", *step) : "-";
}

int show(const Result<json>& sweep, bool as_json) {
  if (!sweep) return report(sweep.error());
  if (as_json) {
    print_json(*sweep);
  } else {
    fmt::print("{}", sweep_text(*sweep));
  }
  return kExitOk;
}

int list(ApiClient& client, bool as_json) {
  const auto page = client.get(std::string(kSweeps) + "?limit=100");
  if (!page) return report(page.error());
  if (as_json) {
    print_json(*page);
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows{{"ID", "MODEL", "STATUS", "JOBS"}};
  const json sweeps = field_at(*page, "data");
  for (const auto& sweep : sweeps) {
    rows.push_back({text_at(sweep, "id"), printable(text_at(sweep, "model")),
                    text_at(sweep, "status"),
                    fmt::format("{}", whole_at(sweep, "job_count").value_or(0))});
  }
  fmt::print("{}", format_table(rows));
  return kExitOk;
}

int submit(ApiClient& client, const std::string& file, bool as_json) {
  const auto request = request_of(client, file);
  if (!request) return report(request.error());
  const auto sweep = client.post(kSweeps, *request, random_idempotency_key());
  if (!sweep || as_json) return show(sweep, as_json);
  const std::string id = text_at(*sweep, "id");
  fmt::print("{}\n", id);
  fmt::print(stderr, "{} jobs; see how they do: tunefleet sweep show {}\n",
             whole_at(*sweep, "job_count").value_or(0), id);
  return kExitOk;
}

}  // namespace

std::string sweep_text(const json& sweep) {
  std::string text =
      fmt::format("{} {}: {} in {} jobs by {}\n", text_at(sweep, "id"), text_at(sweep, "status"),
                  printable(text_at(sweep, "model")), whole_at(sweep, "job_count").value_or(0),
                  text_at(sweep, "metric"));
  std::vector<std::vector<std::string>> rows{{"#", "JOB", "STATE", "STEP", "METRIC", "VALUES"}};
  const json jobs = field_at(sweep, "jobs");
  for (const auto& job : jobs) {
    const std::string id = text_at(job, "job");
    rows.push_back({fmt::format("{}", whole_at(job, "index").value_or(0)), id.empty() ? "-" : id,
                    text_at(job, "state"), steps_text(job), metric_text(job),
                    values_text(field_at(job, "values"))});
  }
  text += format_table(rows);
  const json best = field_at(sweep, "best");
  if (best.is_object()) {
    text += fmt::format("best so far: {} with {}, {} at step {}\n", text_at(best, "job"),
                        values_text(field_at(best, "values")), metric_text(best), steps_text(best));
  }
  return text;
}

int run_sweep(int argc, char** argv) {
  CLI::App app(
      "Submits a sweep, or tells about one:\n"
      "  tunefleet sweep FILE | list | show ID | cancel ID",
      "tunefleet sweep");
  ClientOptions options;
  std::string what;
  std::string id;
  app.add_option("WHAT", what, "A job file with a section `sweep`; or list, show, cancel")
      ->required();
  app.add_option("ID", id, "Of the sweep to show or cancel");
  add_client_options(app, options, "tunefleet sweep sweep.yaml");
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const bool of_one = what == "show" || what == "cancel";
  if (of_one == id.empty()) {
    fmt::print(stderr, "error: {} (see tunefleet sweep --help)\n",
               of_one ? "ID is required" : "ID is for show and cancel: " + id);
    return kExitUsage;
  }
  const auto address = find_service(options.service);
  if (!address) return report(address.error());
  ApiClient client(*address);
  if (what == "list") return list(client, options.json);
  if (what == "show") return show(client.get(path_of(id)), options.json);
  if (what == "cancel")
    return show(client.post(path_of(id) + "/cancel", json::object()), options.json);
  return submit(client, what, options.json);
}

}  // namespace tunefleet::coordinator
