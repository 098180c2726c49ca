#include "coordinator/client/submit_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/job_upload.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/plan_command.h"
#include "coordinator/client/text_format.h"
#include "coordinator/client/watch.h"
#include "proto/job_fields.h"
#include "proto/job_spec_parser.h"
#include "tuners/config/job_options.h"

namespace tunefleet::coordinator {
namespace {

struct SubmitOptions {
  ClientOptions client;
  std::string file;
  std::vector<std::string> settings;
  bool watch = false;
  bool keys = false;
  bool dry_run = false;
};

void add_options(CLI::App& app, SubmitOptions& options) {
  app.add_option("FILE", options.file, "Job file: YAML, or JSON when its name ends in .json");
  app.add_flag("--watch", options.watch, "Follow the job until it ends");
  app.add_option("--set", options.settings,
                 "Replace one key of the file, KEY=VALUE; may be given several times")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_flag("--dry-run", options.dry_run,
               "Tell what the job would take, as `tunefleet plan` does, and submit nothing");
  app.add_flag("--keys", options.keys,
               "Print every key of the job file with its default and meaning, and end");
  add_client_options(app, options.client, "tunefleet submit job.yaml --set lora_rank=16 --watch");
}

/// One line that is overwritten while a data set goes up; only on a terminal.
UploadProgress upload_line(const std::string& file) {
  if (isatty(STDERR_FILENO) == 0) return {};
  return [file](uint64_t sent, uint64_t total) {
    fmt::print(stderr, "\r\x1b[Kuploading {}: {} of {}{}", file, size_text(sent), size_text(total),
               sent == total ? "\r\x1b[K" : "");
  };
}

std::string waiting_note(const nlohmann::json& job) {
  const std::string reason = printable(text_at(job, "pending_reason"));
  return reason.empty() ? std::string() : " (" + reason + ")";
}

int submit(const SubmitOptions& options, const JobSpec& spec) {
  const auto address = find_service(options.client.service);
  if (!address) return report(address.error());
  ApiClient client(*address);
  if (options.dry_run) {
    const auto plan = plan_of(client, spec, std::filesystem::path(options.file).parent_path());
    if (!plan) return report(plan.error());
    if (options.client.json) {
      print_json(*plan);
    } else {
      fmt::print("{}", plan_text(*plan));
    }
    return kExitOk;
  }
  const auto request =
      upload_datasets(client, spec, std::filesystem::path(options.file).parent_path(), upload_line);
  if (!request) return report(request.error());
  const auto job = client.post("/v1/fine_tuning/jobs", *request, random_idempotency_key());
  if (!job) return report(job.error());
  const std::string id = text_at(*job, "id");
  if (!options.watch) {
    if (options.client.json) {
      print_json(*job);
    } else {
      fmt::print("{}\n", id);
      fmt::print(stderr, "{}{}; follow it: tunefleet watch {}\n", text_at(*job, "status"),
                 waiting_note(*job), id);
    }
    return kExitOk;
  }
  if (!options.client.json) fmt::print("{}\n", id);
  return watch_job(client, id, *make_view_of_stdout(options.client.json));
}

/// Every problem with its line, then how many.
int report_problems(const std::vector<Problem>& problems) {
  for (const auto& problem : problems) fmt::print(stderr, "error: {}\n", to_string(problem));
  fmt::print(stderr,
             "nothing was submitted: {} problem{}; `tunefleet submit --keys` tells every key\n",
             problems.size(), problems.size() == 1 ? "" : "s");
  return kExitUsage;
}

}  // namespace

int run_submit(int argc, char** argv) {
  CLI::App app("Submits a fine-tuning job", "tunefleet submit");
  SubmitOptions options;
  add_options(app, options);
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  if (options.keys) {
    fmt::print("{}", job_spec_markdown());
    return kExitOk;
  }
  if (options.file.empty()) {
    fmt::print(stderr, "error: FILE is required (see tunefleet submit --help)\n");
    return kExitUsage;
  }
  const auto parsed = parse_job_file(options.file, options.settings, tuners::check_tuners);
  if (!parsed.problems.empty()) return report_problems(parsed.problems);
  return submit(options, parsed.spec);
}

}  // namespace tunefleet::coordinator
