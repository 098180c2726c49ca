#pragma once

#include <string>
#include <vector>

#include "coordinator/scheduler/planner.h"

namespace tunefleet::coordinator {

/// "host:ranks" of each part, with a blank between.
inline std::string text_of(const Placement& placement) {
  std::string text;
  for (const auto& part : placement) {
    text += (text.empty() ? "" : " ") + part.host + ":" + std::to_string(part.ranks);
  }
  return text;
}

/// "job on host:ranks …" of each start.
inline std::vector<std::string> starts_of(const Plan& plan) {
  std::vector<std::string> starts;
  for (const auto& start : plan.starts)
    starts.push_back(start.job + " on " + text_of(start.placement));
  return starts;
}

/// "position job: reason" of each wait.
inline std::vector<std::string> waits_of(const Plan& plan) {
  std::vector<std::string> waits;
  for (const auto& wait : plan.waits) {
    waits.push_back(std::to_string(wait.position) + " " + std::string(wait.job) + ": " +
                    plan.reasons.at(wait.reason));
  }
  return waits;
}

/// "job for other" of a preemption, "job to n for other" of a resize, "job to n" of a growth.
inline std::vector<std::string> stops_of(const Plan& plan) {
  std::vector<std::string> stops;
  for (const auto& stop : plan.stops) {
    std::string text = stop.job;
    if (stop.why == StopWhy::kResize) text += " to " + std::to_string(stop.new_size);
    if (!stop.for_job.empty()) text += " for " + stop.for_job;
    stops.push_back(std::move(text));
  }
  return stops;
}

}  // namespace tunefleet::coordinator
