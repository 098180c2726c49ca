#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// Where a sweep is. Stored by name: never rename.
///
///   running --> succeeded | failed (no job of it ended well)
///      v
///   cancelling --> cancelled
enum class SweepPhase { kRunning, kCancelling, kSucceeded, kFailed, kCancelled };

std::string_view phase_name(SweepPhase phase);
Result<SweepPhase> sweep_phase_from_name(std::string_view name);
/// Succeeded, failed and cancelled are final.
bool is_final(SweepPhase phase);
/// Whether the arrows above have one from `from` to `to`.
bool is_transition(SweepPhase from, SweepPhase to);

/// One sweep as stored. A value. Its jobs are those of the group that has its id. Times are Unix
/// milliseconds by the store's clock; 0 = has not happened.
struct SweepRecord {
  std::string id{};     ///< "ftsweep-" + 24 characters, made by the server.
  std::string owner{};  ///< The tenant whose key submitted it.
  SweepPhase phase = SweepPhase::kRunning;
  int64_t created_at_ms = 0;
  int64_t finished_at_ms = 0;
  nlohmann::json plan{};    ///< What is compared and when: sweep/sweep_plan.h.
  nlohmann::json trials{};  ///< [{values, spec, request}]: all jobs, made and to be made, by index.
  nlohmann::json request{};  ///< What the client sent, for what the API gives back.
};

}  // namespace tunefleet::coordinator
