#include "coordinator/queue/sweep_record.h"

#include <fmt/format.h>

#include <array>

namespace tunefleet::coordinator {
namespace {

constexpr std::array<std::string_view, 5> kNames{"running", "cancelling", "succeeded", "failed",
                                                 "cancelled"};

}  // namespace

std::string_view phase_name(SweepPhase phase) { return kNames[static_cast<size_t>(phase)]; }

Result<SweepPhase> sweep_phase_from_name(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<SweepPhase>(i);
  }
  return fail(ErrorCode::kDataLoss, fmt::format("no such phase of a sweep: {}", name));
}

bool is_final(SweepPhase phase) {
  return phase != SweepPhase::kRunning && phase != SweepPhase::kCancelling;
}

bool is_transition(SweepPhase from, SweepPhase to) {
  if (from == SweepPhase::kCancelling) return to == SweepPhase::kCancelled;
  return from == SweepPhase::kRunning && to != SweepPhase::kRunning && to != SweepPhase::kCancelled;
}

}  // namespace tunefleet::coordinator
