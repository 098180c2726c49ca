#include <fmt/format.h>

#include "tests/coordinator/simulate/simulated_world.h"

namespace tunefleet::simulate {
namespace {

std::string host_name(int64_t number) { return fmt::format("agent-{}", number); }

}  // namespace

std::string text_of(const Disturbance& disturbance) {
  static constexpr const char* kNames[] = {"network cut from agent",       "crash of agent",
                                           "network cut from coordinator", "crash of coordinator",
                                           "freeze of coordinator",        "store away"};
  return fmt::format("{} {} for {} s{}", kNames[static_cast<int>(disturbance.kind)],
                     disturbance.which, disturbance.for_ms / 1000,
                     disturbance.tears ? ", tearing a file" : "");
}

void World::begin(const Disturbance& disturbance) {
  note(text_of(disturbance));
  const auto which = static_cast<size_t>(disturbance.which);
  switch (disturbance.kind) {
    case Disturbance::Kind::kCutAgent:
      network_.cut(host_name(disturbance.which), true);
      break;
    case Disturbance::Kind::kCrashAgent:
      if (agents_[which]) agents_[which]->crash(disturbance.tears);
      agents_[which].reset();
      break;
    case Disturbance::Kind::kCutCoordinator:
      network_.cut(coordinators_[which].name, true);
      coordinators_[which].store->faults().away = true;
      break;
    case Disturbance::Kind::kCrashCoordinator:
      coordinators_[which].store->faults().away = true;  // It resigns nothing.
      coordinators_[which].reconciler.reset();
      coordinators_[which].sweeper.reset();
      coordinators_[which].lease.reset();
      break;
    case Disturbance::Kind::kFreezeCoordinator:
      coordinators_[which].frozen = true;
      break;
    case Disturbance::Kind::kStoreAway:
      for (auto& each : coordinators_) each.store->faults().away = true;
      client_.faults().away = true;
  }
}

void World::finish(const Disturbance& disturbance) {
  const auto which = static_cast<size_t>(disturbance.which);
  switch (disturbance.kind) {
    case Disturbance::Kind::kCutAgent:
      network_.cut(host_name(disturbance.which), false);
      break;
    case Disturbance::Kind::kCrashAgent:
      if (!agents_[which]) start_agent(which);
      break;
    case Disturbance::Kind::kCutCoordinator:
      network_.cut(coordinators_[which].name, false);
      coordinators_[which].store->faults().away = false;
      break;
    case Disturbance::Kind::kCrashCoordinator:
      coordinators_[which].store->faults().away = false;
      if (!coordinators_[which].up()) start_coordinator(coordinators_[which]);
      break;
    case Disturbance::Kind::kFreezeCoordinator:
      coordinators_[which].frozen = false;
      break;
    case Disturbance::Kind::kStoreAway:
      for (auto& each : coordinators_) each.store->faults().away = false;
      client_.faults().away = false;
  }
}

void World::disturb() {
  while (!coming_.empty() && coming_.front().at_ms <= now_ms_) {
    begin(coming_.front());
    lasting_.push_back(coming_.front());
    coming_.pop_front();
  }
  std::erase_if(lasting_, [this](const Disturbance& each) {
    if (each.at_ms + each.for_ms > now_ms_) return false;
    finish(each);
    return true;
  });
}

}  // namespace tunefleet::simulate
