#include "worker/agent/slot_ledger.h"

#include <fmt/format.h>

namespace tunefleet::agent {
namespace {

/// A reservation that is given up when `gang` gets slots: its own, or one of an older attempt.
bool gives_way(const GangId& gang, const std::pair<const GangId, SlotLedger::Entry>& entry) {
  return entry.second.use == SlotUse::kReserved && entry.first.first == gang.first &&
         entry.first.second <= gang.second;
}

}  // namespace

int SlotLedger::used() const {
  int used = 0;
  for (const auto& [gang, entry] : entries_) used += entry.ranks;
  return used;
}

Status SlotLedger::enough_for(const GangId& gang, int ranks) const {
  if (ranks < 1) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("a gang needs ranks: {}", ranks));
  }
  int free_slots = free();
  for (const auto& entry : entries_) {
    if (gives_way(gang, entry)) free_slots += entry.second.ranks;
  }
  if (ranks <= free_slots) return {};
  return fail(ErrorCode::kResourceExhausted,
              fmt::format("not enough free slots: {} needed, {} free", ranks, free_slots));
}

void SlotLedger::take(const GangId& gang, const Entry& entry) {
  std::erase_if(entries_, [&](const auto& other) { return gives_way(gang, other); });
  entries_[gang] = entry;
}

Status SlotLedger::reserve(const GangId& gang, int ranks, int64_t now_ms, int64_t ttl_ms) {
  const auto found = entries_.find(gang);
  if (found != entries_.end() && found->second.use != SlotUse::kReserved) return {};
  if (auto enough = enough_for(gang, ranks); !enough) return enough;
  take(gang, {.ranks = ranks, .use = SlotUse::kReserved, .expires_ms = now_ms + ttl_ms});
  return {};
}

bool SlotLedger::release(const GangId& gang) {
  const auto found = entries_.find(gang);
  if (found == entries_.end() || found->second.use != SlotUse::kReserved) return false;
  entries_.erase(found);
  return true;
}

Status SlotLedger::lead(const GangId& gang, int ranks) {
  if (auto enough = enough_for(gang, ranks); !enough) return enough;
  take(gang, {.ranks = ranks, .use = SlotUse::kLead});
  return {};
}

Status SlotLedger::join(const GangId& gang) {
  const auto found = entries_.find(gang);
  if (found == entries_.end() || found->second.use != SlotUse::kReserved) {
    return fail(ErrorCode::kNotFound,
                fmt::format("no slots are kept for this gang, or no longer: job {} attempt {}",
                            gang.first, gang.second));
  }
  found->second.use = SlotUse::kMember;
  found->second.expires_ms = 0;
  return {};
}

std::vector<GangId> SlotLedger::expire(int64_t now_ms) {
  std::vector<GangId> expired;
  for (const auto& [gang, entry] : entries_) {
    if (entry.use == SlotUse::kReserved && now_ms >= entry.expires_ms) expired.push_back(gang);
  }
  for (const auto& gang : expired) entries_.erase(gang);
  return expired;
}

}  // namespace tunefleet::agent
