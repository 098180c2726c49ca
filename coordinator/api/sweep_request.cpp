#include "coordinator/api/sweep_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coordinator/api/json_body.h"
#include "coordinator/sweep/sweep_template.h"
#include "proto/utf8_text.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kLongestName = 64;
/// Of the bodies of all its jobs: each is kept with all it says, and read whenever sweeps are
/// listed.
constexpr size_t kMostText = 4 << 20;

ApiError refused(const std::string& path, const std::string& message) {
  return bad_request(path + ": " + message, path);
}

/// "learning_rate=0.0003, lora_rank=8"
std::string text_of(const json& values) {
  std::string text;
  for (const auto& [key, value] : values.items())
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", key, value.dump());
  return text;
}

/// What the sweep itself decides for every job: how long it runs, and that the metric is measured
/// at each rung.
ApiResult<void> set_steps(const SweepPlan& plan, const json& parameters, json& body) {
  const bool evaluates = plan.metric == "eval_loss";
  const auto given = [&](const char* key) { return body.contains(key) && !body[key].is_null(); };
  if (evaluates && !given("validation_file") && !given("val_dataset") &&
      !given("split_dataset_ratio")) {
    return api_fail(refused("sweep.metric",
                            "eval_loss needs held-out rows: give validation_file or "
                            "split_dataset_ratio, or metric loss"));
  }
  if (!plan.halving) return {};
  for (const char* key : {"max_steps", "eval_steps", "eval_strategy"}) {
    const bool sweeps = parameters.contains(key);
    if (!sweeps && !given(key)) continue;
    return api_fail(refused(sweeps ? std::string("sweep.parameters.") + key : key,
                            "follows from sweep.halving, leave it out"));
  }
  body["max_steps"] = plan.halving->max_steps;
  if (evaluates) {
    body["eval_strategy"] = "steps";
    body["eval_steps"] = plan.halving->min_steps;
  } else if (!given("logging_steps") || !body["logging_steps"].is_number() ||
             body["logging_steps"] > plan.halving->min_steps) {
    body["logging_steps"] = std::min<int64_t>(5, plan.halving->min_steps);
  }
  return {};
}

/// The error of a trial's job as one of the sweep's, at the parameter where it is one.
ApiError of_trial(ApiError error, const json& values) {
  if (error.param && values.contains(*error.param))
    error.param = "sweep.parameters." + *error.param;
  error.message = fmt::format("{} (with {})", error.message, text_of(values));
  return error;
}

/// "devil-3" of the trial with index 3.
std::string name_of(const json& body, size_t trial) {
  const json given = body.value("suffix", body.value("name", json()));
  const std::string name = given.is_string() ? given.get<std::string>() : "sweep";
  const std::string number = fmt::format("-{}", trial);
  return first_characters(name, kLongestName - number.size()) + number;
}

}  // namespace

ApiResult<SweepRecord> read_sweep_request(const json& body, const std::string& owner,
                                          const JobResources& resources) {
  const auto section = body.find("sweep");
  if (section == body.end()) return api_fail(bad_request("sweep: is missing", "sweep"));
  const auto sweep = read_sweep_template(*section);
  if (!sweep) return api_fail(refused(sweep.error().path, sweep.error().message));
  const json& parameters = section->at("parameters");
  for (const auto& [key, values] : parameters.items()) {
    if (!body.contains(key)) continue;
    return api_fail(refused("sweep.parameters." + key, "stands beside the section too"));
  }
  json job = body;
  job.erase("sweep");
  if (const auto set = set_steps(sweep->plan, parameters, job); !set) return api_fail(set.error());

  if (to_text(job).size() * sweep->trials.size() > kMostText) {
    return api_fail(refused("sweep", fmt::format("its {} jobs have more than {} bytes of text",
                                                 sweep->trials.size(), kMostText)));
  }

  SweepRecord record{.owner = owner, .plan = to_json(sweep->plan), .trials = json::array()};
  record.request = {{"model", job.value("model", json())}, {"sweep", *section}};
  for (const json& values : sweep->trials) {
    json of_job = job;
    of_job.update(values);
    of_job.erase("name");
    of_job["suffix"] = name_of(job, record.trials.size());
    auto wanted = read_job_request(of_job, owner, resources);
    if (!wanted) return api_fail(of_trial(wanted.error(), values));
    record.trials.push_back({{"values", values},
                             {"spec", to_json(wanted->spec)},
                             {"request", std::move(wanted->request)}});
  }
  return record;
}

}  // namespace tunefleet::coordinator
