#include "coordinator/client/plan_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <set>
#include <vector>

#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/job_upload.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/text_format.h"
#include "proto/job_spec_parser.h"
#include "tuners/config/job_options.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr const char* kPlanPath = "/v1/fine_tuning/jobs/plan";

/// Data sets that went up for the plan alone: ids of the request that the job file does not name.
std::set<std::string> uploaded_for(const json& request, const JobSpec& spec) {
  std::set<std::string> ids;
  for (const auto& [key, given] :
       {std::pair("dataset", spec.dataset), std::pair("val_dataset", spec.val_dataset)}) {
    const json names = field_at(request, key);
    for (const auto& name : names) {
      if (std::ranges::find(given, name.get<std::string>()) == given.end())
        ids.insert(name.get<std::string>());
    }
  }
  return ids;
}

std::string unknown_of(const json& part) {
  return "unknown: " + printable(text_at(part, "unknown"));
}

std::string trainable_line(const json& trainable) {
  const auto total = whole_at(trainable, "total"), of = whole_at(trainable, "of");
  if (!total || !of) return unknown_of(trainable);
  std::string line =
      fmt::format("{} of {} numbers ({:.2f} %)", grouped_number(*total), grouped_number(*of),
                  100.0 * static_cast<double>(*total) / static_cast<double>(*of));
  const json tuners = field_at(trainable, "tuners");
  if (tuners.size() < 2) return line;
  for (const auto& tuner : tuners) {
    line += fmt::format(", {} {}", printable(text_at(tuner, "name")),
                        grouped_number(whole_at(tuner, "numbers").value_or(0)));
  }
  return line;
}

std::string steps_line(const json& steps) {
  const std::string bound = text_at(steps, "bound");
  const char* about = bound == "upper" ? "at most " : bound == "lower" ? "at least " : "";
  const std::string note = printable(text_at(steps, "note"));
  return fmt::format("{}{} of {} rows each; {} rows{}", about,
                     grouped_number(whole_at(steps, "total").value_or(0)),
                     whole_at(steps, "rows_per_step").value_or(0),
                     grouped_number(whole_at(steps, "rows").value_or(0)),
                     note.empty() ? "" : "; " + note);
}

std::string memory_line(const json& memory) {
  const auto bytes = whole_at(memory, "per_rank");
  if (!bytes) return unknown_of(memory);
  std::string line = fmt::format("about {} a rank", size_text(static_cast<uint64_t>(*bytes)));
  const json parts = field_at(memory, "parts");
  const char* between = ": ";
  for (const char* part :
       {"runtime", "weights", "trainables", "gradients", "optimizer", "activations"}) {
    line += fmt::format("{}{} {}", between, part,
                        size_text(static_cast<uint64_t>(whole_at(parts, part).value_or(0))));
    between = ", ";
  }
  return line + " (" + printable(text_at(memory, "note")) + ")";
}

std::string time_line(const json& time) {
  const auto seconds = number_at(time, "seconds");
  if (!seconds) return unknown_of(time);
  return fmt::format("about {}, {:.2f} device-hours, as {} finished job{} went",
                     duration_text(*seconds), number_at(time, "device_hours").value_or(0),
                     whole_at(time, "jobs").value_or(0),
                     whole_at(time, "jobs").value_or(0) == 1 ? "" : "s");
}

std::string start_line(const json& start) {
  if (flag_at(start, "now")) {
    std::string hosts;
    const json placement = field_at(start, "placement");
    for (const auto& part : placement) {
      hosts += fmt::format("{}{} on {}", hosts.empty() ? "" : ", ", part.at(1).get<int64_t>(),
                           printable(part.at(0).get<std::string>()));
    }
    return "at once: " + hosts;
  }
  const auto position = whole_at(start, "queue_position");
  const auto at = number_at(start, "estimated_start");
  const std::string when =
      at ? fmt::format(", in about {}",
                       duration_text(std::max(0.0, *at - static_cast<double>(std::time(nullptr)))))
         : ", nobody can know when";
  return fmt::format("it would wait{}{}: {}", position ? fmt::format(" as #{}", *position) : "",
                     when, printable(text_at(start, "pending_reason")));
}

}  // namespace

Result<json> plan_of(ApiClient& client, const JobSpec& spec,
                     const std::filesystem::path& directory) {
  const auto request = upload_datasets(client, spec, directory, {});
  if (!request) return fail(request.error());
  auto plan = client.post(kPlanPath, *request);
  // A file that stays is no reason to hold the answer back: `files` lists it.
  for (const auto& id : uploaded_for(*request, spec))
    (void)client.remove("/v1/files/" + escaped_segment(id));
  return plan;
}

std::string plan_text(const json& plan) {
  return format_table({{"PLAN", text_at(plan, "model")},
                       {"trains", trainable_line(field_at(plan, "trainable"))},
                       {"steps", steps_line(field_at(plan, "steps"))},
                       {"memory", memory_line(field_at(plan, "memory"))},
                       {"time", time_line(field_at(plan, "time"))},
                       {"starts", start_line(field_at(plan, "start"))}});
}

int run_plan(int argc, char** argv) {
  CLI::App app("Tells what a job would take, without submitting it", "tunefleet plan");
  ClientOptions options;
  std::string file;
  std::vector<std::string> settings;
  app.add_option("FILE", file, "Job file: YAML, or JSON when its name ends in .json")->required();
  app.add_option("--set", settings, "Replace one key of the file, KEY=VALUE")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_client_options(app, options, "tunefleet plan job.yaml --set lora_rank=16");
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto parsed = parse_job_file(file, settings, tuners::check_tuners);
  for (const auto& problem : parsed.problems) fmt::print(stderr, "error: {}\n", to_string(problem));
  if (!parsed.problems.empty()) return kExitUsage;
  const auto address = find_service(options.service);
  if (!address) return report(address.error());
  ApiClient client(*address);
  const auto plan = plan_of(client, parsed.spec, std::filesystem::path(file).parent_path());
  if (!plan) return report(plan.error());
  if (options.json) {
    print_json(*plan);
  } else {
    fmt::print("{}", plan_text(*plan));
  }
  return kExitOk;
}

}  // namespace tunefleet::coordinator
