#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <string>
#include <vector>

#include "coordinator/scheduler/planner.h"

namespace tunefleet::coordinator {

constexpr int64_t kAnyNow = 100'000'000;

/// From `first` up to, not including, `end`; of the whole range in every case, not only the late.
inline int64_t any_between(int64_t first, int64_t end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(first, end));
}

inline bool one_in(int64_t cases) { return any_between(0, cases) == 0; }

inline std::string any_host(int64_t hosts) {
  return "host-" + std::to_string(any_between(0, hosts));
}

inline std::string any_tenant() { return *rc::gen::element<std::string>("acme", "blue", "coop"); }

/// Up to 5 agents of up to 8 slots.
inline void add_agents(PlanInput& input) {
  const int64_t agents = any_between(0, 6);
  for (int64_t i = 0; i < agents; ++i) {
    const int64_t slots = any_between(0, 9);
    input.agents.push_back(
        {.host = "host-" + std::to_string(i), .slots = slots, .free_slots = slots});
  }
}

/// Jobs on slots of the agents, until `tries` are made.
inline void add_running(PlanInput& input, int64_t tries) {
  for (int64_t i = 0; i < tries; ++i) {
    RunningJob job{.id = "run-" + std::to_string(i), .tenant = any_tenant()};
    int64_t width = 0;
    for (auto& agent : input.agents) {
      if (agent.free_slots == 0 || !one_in(2)) continue;
      const int64_t ranks = any_between(1, agent.free_slots + 1);
      agent.free_slots -= ranks;
      job.placement.push_back({agent.host, ranks});
      width += ranks;
    }
    if (width == 0) continue;
    job.priority = any_between(-2, 3);
    job.min_workers = any_between(1, width + 1);
    job.max_workers = *rc::gen::element(job.min_workers, width, width + 3);
    if (job.max_workers == job.min_workers) job.min_workers = job.max_workers = width;
    job.started_at_ms = kAnyNow - any_between(0, 1'000'000);
    job.expected_end_ms = one_in(2) ? 0 : kAnyNow + any_between(-9, 99) * 9'999;
    job.preemptible = !one_in(4);
    job.stopping = one_in(4);
    input.running.push_back(std::move(job));
  }
}

inline WaitingJob any_job(int64_t number) {
  WaitingJob job{.id = "job-" + std::to_string(number), .tenant = any_tenant()};
  job.min_workers = any_between(1, 12);
  job.max_workers = job.min_workers + *rc::gen::element<int64_t>(0, 0, 3, 9);
  job.priority = any_between(-2, 3);
  job.submitted_at_ms = kAnyNow - any_between(0, 9) * 3'000'000;
  job.not_before_ms = *rc::gen::element<int64_t>(0, 0, 0, kAnyNow - 1, kAnyNow + 5'000);
  job.expected_ms = any_between(0, 30) * 30'000;
  if (one_in(4)) job.excluded_hosts.push_back(any_host(6));
  return job;
}

/// Everything the planner can be given, in small: whatever a law is about should occur.
inline PlanInput any_input() {
  PlanInput input{.now_ms = kAnyNow};
  add_agents(input);
  add_running(input, any_between(0, 6));
  const int64_t jobs = any_between(0, 10);
  for (int64_t i = 0; i < jobs; ++i) input.waiting.push_back(any_job(i));
  for (const auto* tenant : {"acme", "blue"}) {
    input.tenants.push_back({.tenant = tenant,
                             .weight = static_cast<double>(any_between(1, 4)),
                             .max_slots = *rc::gen::element<int64_t>(0, 0, 3, 12),
                             .used_device_ms = any_between(0, 9) * 1e6});
  }
  input.policy.span_agents = !one_in(3);
  input.policy.preemption = !one_in(4);
  return input;
}

template <typename Jobs>
const auto& job_of(const Jobs& jobs, const std::string& id) {
  return *std::ranges::find(jobs, id, [](const auto& job) { return job.id; });
}

inline int64_t width_of(const Placement& placement) {
  int64_t width = 0;
  for (const auto& part : placement) width += part.ranks;
  return width;
}

}  // namespace tunefleet::coordinator
