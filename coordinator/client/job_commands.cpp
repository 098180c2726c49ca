#include "coordinator/client/job_commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/text_format.h"
#include "coordinator/client/watch.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kLargestPage = 100;
constexpr size_t kWidestCell = 32;

std::string path_of(const std::string& job) {
  return "/v1/fine_tuning/jobs/" + escaped_segment(job);
}

/// Up to `limit` jobs, newest first, page by page.
Result<std::vector<json>> list_jobs(ApiClient& client, int64_t limit) {
  std::vector<json> jobs;
  std::string after;
  while (static_cast<int64_t>(jobs.size()) < limit) {
    const auto wanted = std::min(kLargestPage, limit - static_cast<int64_t>(jobs.size()));
    std::string path = fmt::format("/v1/fine_tuning/jobs?limit={}", wanted);
    if (!after.empty()) path += "&after=" + escaped_segment(after);
    const auto page = client.get(path);
    if (!page) return fail(page.error());
    const json data = field_at(*page, "data");
    for (const auto& job : data) jobs.push_back(job);
    if (data.empty() || !flag_at(*page, "has_more")) break;
    after = text_at(jobs.back(), "id");
  }
  return jobs;
}

std::string state_of(const json& job) {
  const std::string status = text_at(job, "status");
  std::string state = text_at(job, "state");
  if (state.empty()) state = status;  // A service older than this program.
  if (state == "running" && flag_at(job, "cancel_requested")) state = "stopping";
  const auto position = whole_at(job, "queue_position");
  return position ? fmt::format("{} #{}", state, *position) : state;
}

std::string steps_of(const json& job) {
  const bool finished = field_at(job, "result").is_object();
  const json from = field_at(job, finished ? "result" : "progress");
  const auto step = whole_at(from, "step"), max_steps = whole_at(from, "max_steps");
  return step && max_steps && *max_steps > 0 ? fmt::format("{}/{}", *step, *max_steps) : "-";
}

/// The held-out loss of a finished job, otherwise the newest of training.
std::string loss_of(const json& job) {
  const json result = field_at(job, "result");
  for (const auto loss : {number_at(result, "eval_loss"), number_at(result, "train_loss"),
                          number_at(field_at(job, "progress"), "loss")}) {
    if (loss && *loss > 0) return fmt::format("{:.3f}", *loss);
  }
  return "-";
}

std::string cell(const std::string& text) {
  return text.empty() ? "-" : cut_to_width(printable(text), kWidestCell);
}

/// A client of the service, or the exit code when it cannot be found.
Result<std::unique_ptr<ApiClient>> connect(const ClientOptions& options) {
  auto address = find_service(options.service);
  if (!address) return fail(address.error());
  return std::make_unique<ApiClient>(*std::move(address));
}

/// What the ranks printed from `offset` to the end of now; returns where that is.
Result<int64_t> print_log(ApiClient& client, const std::string& job, int64_t offset, bool as_json) {
  for (;;) {
    const auto piece = client.get_text(fmt::format("{}/logs?offset={}", path_of(job), offset));
    if (!piece) return fail(piece.error());
    if (piece->text.empty() || piece->next_offset <= offset) return offset;
    if (as_json) {
      fmt::print("{}\n", to_line({{"job", job}, {"offset", offset}, {"text", piece->text}}));
    } else {
      std::fwrite(piece->text.data(), 1, piece->text.size(), stdout);
    }
    std::fflush(stdout);
    offset = piece->next_offset;
  }
}

bool is_final(const json& job) {
  const std::string status = text_at(job, "status");
  return status == "succeeded" || status == "failed" || status == "cancelled";
}

/// Prints the log until the job is final. The state is read before the log: then nothing is missed.
int follow_log(ApiClient& client, const std::string& job, bool follow, bool as_json) {
  constexpr timespec kPause{.tv_sec = 1, .tv_nsec = 0};
  for (int64_t offset = 0;;) {
    const auto shown = client.get(path_of(job));
    if (!shown) return report(shown.error());
    const auto next = print_log(client, job, offset, as_json);
    if (!next) return report(next.error());
    offset = *next;
    if (follow && !is_final(*shown)) {
      nanosleep(&kPause, nullptr);
      continue;
    }
    if (offset == 0)
      fmt::print(stderr, "the ranks have not printed anything: job {}\n",
                 text_at(*shown, "status"));
    return kExitOk;
  }
}

/// A command that asks something of one job.
struct Asking {
  const char* verb;  ///< Of the command and of the API's address.
  const char* about;
};

int ask_of_job(const Asking& asking, int argc, char** argv) {
  CLI::App app(asking.about, fmt::format("tunefleet {}", asking.verb));
  ClientOptions options;
  std::string job;
  app.add_option("JOB", job, "Id of the job")->required();
  add_client_options(app, options, fmt::format("tunefleet {} ftjob-…", asking.verb));
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto client = connect(options);
  if (!client) return report(client.error());
  const auto shown = (*client)->post(path_of(job) + "/" + asking.verb, json::object());
  if (!shown) return report(shown.error());
  const std::string id = text_at(*shown, "id");
  const std::string state = state_of(*shown);
  if (options.json) {
    print_json(*shown);
  } else if (state == "stopping") {
    fmt::print("{} is stopping; see it end: tunefleet watch {}\n", id, id);
  } else {
    fmt::print("{} {}\n", id, state);
  }
  return kExitOk;
}

}  // namespace

std::string jobs_table(const std::vector<json>& jobs, int64_t now) {
  std::vector<std::vector<std::string>> rows{
      {"ID", "NAME", "MODEL", "STATE", "STEP", "LOSS", "AGE"}};
  for (const auto& job : jobs) {
    const auto created = number_at(job, "created_at").value_or(static_cast<double>(now));
    rows.push_back({text_at(job, "id"), cell(text_at(job, "name")), cell(text_at(job, "model")),
                    state_of(job), steps_of(job), loss_of(job),
                    duration_text(static_cast<double>(now) - created)});
  }
  return format_table(rows);
}

int run_jobs(int argc, char** argv) {
  CLI::App app("Lists your jobs, the newest first", "tunefleet jobs");
  ClientOptions options;
  int64_t limit = 20;
  bool all = false;
  app.add_option("--limit", limit, "How many")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str();
  app.add_flag("--all", all, "All of them");
  add_client_options(app, options, "tunefleet jobs --limit 5");
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto client = connect(options);
  if (!client) return report(client.error());
  const auto jobs = list_jobs(**client, all ? INT64_MAX : limit);
  if (!jobs) return report(jobs.error());
  if (options.json) {
    print_json(*jobs);
  } else if (jobs->empty()) {
    fmt::print("no jobs; submit one with `tunefleet submit job.yaml`\n");
  } else {
    fmt::print("{}", jobs_table(*jobs, std::time(nullptr)));
  }
  return kExitOk;
}

int run_watch(int argc, char** argv) {
  CLI::App app("Follows a job until it ends", "tunefleet watch");
  ClientOptions options;
  std::string job;
  app.add_option("JOB", job, "Id of the job")->required();
  add_client_options(app, options, "tunefleet watch ftjob-…");
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto client = connect(options);
  if (!client) return report(client.error());
  return watch_job(**client, job, *make_view_of_stdout(options.json));
}

int run_logs(int argc, char** argv) {
  CLI::App app("Prints what a job's ranks have written to stdout and stderr", "tunefleet logs");
  ClientOptions options;
  std::string job;
  bool follow = false;
  app.add_option("JOB", job, "Id of the job")->required();
  app.add_flag("--follow", follow, "Go on until the job ends");
  add_client_options(app, options, "tunefleet logs ftjob-… --follow");
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto client = connect(options);
  if (!client) return report(client.error());
  return follow_log(**client, job, follow, options.json);
}

int run_cancel(int argc, char** argv) {
  return ask_of_job({"cancel", "Stops a job; one that runs saves a checkpoint first"}, argc, argv);
}

int run_pause(int argc, char** argv) {
  return ask_of_job(
      {"pause", "Stops a job until it is resumed; one that runs saves a checkpoint first"}, argc,
      argv);
}

int run_resume(int argc, char** argv) {
  return ask_of_job({"resume", "Lets a paused job go on from its last checkpoint"}, argc, argv);
}

}  // namespace tunefleet::coordinator
