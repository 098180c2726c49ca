#include "tests/coordinator/simulate/invariants.h"

#include <fmt/format.h>

#include "coordinator/queue/job_record.h"

namespace tunefleet::simulate {

using coordinator::JobPhase;
using coordinator::JobRecord;
using coordinator::phase_name;
using coordinator::SweepPhase;

void Invariants::accepted(const std::string& key, const std::string& job) {
  const auto [entry, fresh] = accepted_.emplace(key, job);
  if (!fresh && entry->second != job) {
    twice_ = fmt::format("a request sent twice made two jobs: {}, {}", entry->second, job);
  }
}

std::string Invariants::after_change(const JobRecord& before, const JobRecord& after) {
  if (!twice_.empty()) return twice_;
  if (is_final(before.phase)) {
    return fmt::format("a job changed after its end: {} {} -> {}", after.id,
                       phase_name(before.phase), phase_name(after.phase));
  }
  const bool starts = before.phase != JobPhase::kRunning && after.phase == JobPhase::kRunning;
  if (after.attempt != before.attempt + (starts ? 1 : 0)) {
    return fmt::format("an attempt was not counted: {} {} -> {}, attempt {} -> {}", after.id,
                       phase_name(before.phase), phase_name(after.phase), before.attempt,
                       after.attempt);
  }
  if (starts && cancelled_.contains(after.id)) {
    return fmt::format("a cancelled job was started: {} attempt {}", after.id, after.attempt);
  }
  if (starts && stopped_.contains(after.id)) {
    return fmt::format("a stopped trial was started again: {} attempt {}", after.id, after.attempt);
  }
  return "";
}

std::string Invariants::now(const std::map<std::string, const SimAgent*>& agents,
                            const std::vector<JobRecord>& running) const {
  std::map<std::string, int64_t> booked;
  for (const JobRecord& job : running) {
    for (const auto& part : job.placement) booked[part.host] += part.ranks;
    const auto ranks = job.workers;
    if (ranks < job.min_workers || ranks > job.max_workers) {
      return fmt::format("a gang of the wrong size: {} has {}, not {} to {}", job.id, ranks,
                         job.min_workers, job.max_workers);
    }
  }
  for (const auto& [host, agent] : agents) {
    if (agent->used_slots() > agent->slots()) {
      return fmt::format("an agent runs more than it has slots: {} {} of {}", host,
                         agent->used_slots(), agent->slots());
    }
    if (booked[host] > agent->slots()) {
      return fmt::format("slots are booked twice: {} {} of {}", host, booked[host], agent->slots());
    }
  }
  std::map<GangKey, std::string> leads;
  for (const auto& [host, agent] : agents) {
    for (const auto& [key, ranks] : agent->running()) {
      if (agent->holds(key)) continue;
      const auto [entry, fresh] = leads.emplace(key, host);
      if (!fresh) {
        return fmt::format("an attempt runs twice at a time: {} attempt {} on {} and {}", key.first,
                           key.second, entry->second, host);
      }
    }
  }
  return "";
}

std::string Invariants::end_of_job(coordinator::JobStore& store, const std::string& id) const {
  const auto job = store.get(id);
  if (!job) return fmt::format("an accepted job is lost: {}", id);
  if (!is_final(job->phase) && job->phase != JobPhase::kPaused) {
    return fmt::format("a job did not end: {} is {}", id, phase_name(job->phase));
  }
  if (cancelled_.contains(id) && !is_final(job->phase)) {
    return fmt::format("a cancel was lost: {} is {}", id, phase_name(job->phase));
  }
  const auto events = store.events_after(id, 0, 100'000);
  int64_t number = 0;
  for (const auto& event : events->events) {
    if (event.number != ++number) {
      return fmt::format("a gap in the events: {} {} after {}", id, event.number, number - 1);
    }
  }
  return number == 0 ? fmt::format("a job without events: {}", id) : "";
}

/// A sweep that was cancelled may not have made all of its jobs.
std::string Invariants::end_of_sweep(coordinator::JobStore& store, coordinator::SweepStore& sweeps,
                                     const std::string& id, size_t trials) const {
  const auto sweep = sweeps.get(id);
  if (!sweep) return fmt::format("an accepted sweep is lost: {}", id);
  if (!is_final(sweep->phase)) {
    return fmt::format("a sweep did not end: {} is {}", id, phase_name(sweep->phase));
  }
  const auto jobs = store.in_group(id);
  const bool all = jobs->size() == trials;
  if (!all && (jobs->size() > trials || sweep->phase != SweepPhase::kCancelled)) {
    return fmt::format("a sweep ended without all its trials: {} {} of {}", id, jobs->size(),
                       trials);
  }
  for (const JobRecord& job : *jobs) {
    if (!is_final(job.phase)) {
      return fmt::format("a trial outlived its sweep: {} is {}", job.id, phase_name(job.phase));
    }
    if (auto broken = end_of_job(store, job.id); !broken.empty()) return broken;
  }
  return "";
}

std::string Invariants::finally(coordinator::JobStore& store,
                                coordinator::SweepStore& sweeps) const {
  for (const auto& [key, id] : accepted_) {
    if (auto broken = end_of_job(store, id); !broken.empty()) return broken;
  }
  for (const auto& [id, trials] : sweeps_) {
    if (auto broken = end_of_sweep(store, sweeps, id, trials); !broken.empty()) return broken;
  }
  return "";
}

}  // namespace tunefleet::simulate
