#include "worker/agent/part_keeper.h"

#include <fmt/format.h>

#include <utility>

#include "proto/log.h"

namespace tunefleet::agent {
namespace {

constexpr int64_t kRememberedMs = 60'000;
constexpr int64_t kLeadDecidesMs = 86'400'000;  ///< Of EXEC_STOP: EXEC_END follows in time.

GangId gang_of(const wire::ExecRequest& request) {
  return {request.job(), static_cast<int64_t>(request.attempt())};
}

}  // namespace

wire::ExecStatus PartKeeper::make_status(const std::string& id, wire::ExecPhase phase,
                                         const std::string& message) const {
  wire::ExecStatus status;
  status.set_id(id);
  status.set_host(options_.host);
  status.set_phase(phase);
  status.set_message(valid_utf8(message));
  return status;
}

wire::ExecStatus PartKeeper::status_of(const Kept& kept) const {
  return make_status(kept.exec_id, wire::EXEC_RUNNING, kept.part.stop_reason());
}

void PartKeeper::send(const wire::ExecStatus& status, CoordinatorLink& link) {
  wire::Envelope envelope;
  *envelope.mutable_exec_status() = status;
  link.send(std::move(envelope));
}

wire::ExecStatus PartKeeper::start(const wire::ExecRequest& request) {
  const GangId gang = gang_of(request);
  if (const auto joined = ledger_.join(gang); !joined) {
    return make_status(request.id(), wire::EXEC_REFUSED, joined.error().message);
  }
  auto part = GangPart::start(options_,
                              {.job = gang.first,
                               .attempt = gang.second,
                               .ranks = ledger_.entries().at(gang).ranks,
                               .run_directory = request.run_directory(),
                               .rank_endpoint = request.rank_endpoint()},
                              request.command());
  if (!part) {
    ledger_.end(gang);
    log::warning(fmt::format("job {} attempt {}: cannot start its part here, {}", gang.first,
                             gang.second, part.error().message));
    return make_status(request.id(), wire::EXEC_REFUSED, part.error().message);
  }
  log::info(fmt::format("job {} attempt {}: started a part of it, {} ranks", gang.first,
                        gang.second, part->order().ranks));
  const auto kept =
      parts_.emplace(gang, Kept{.part = std::move(*part), .exec_id = request.id()}).first;
  return status_of(kept->second);
}

bool PartKeeper::take_request(const wire::ExecRequest& request, CoordinatorLink& link,
                              int64_t now_ms) {
  if (request.host() != options_.host) return false;  // A relay's mistake: not ours to answer.
  const GangId gang = gang_of(request);
  const auto found = parts_.find(gang);
  if (found != parts_.end() && found->second.exec_id == request.id()) {
    if (request.wish() == wire::EXEC_STOP) {
      found->second.part.stop(now_ms, kLeadDecidesMs);
    } else if (request.wish() == wire::EXEC_END) {
      found->second.part.end();
    }
    send(status_of(found->second), link);
    return false;
  }
  if (const auto past = past_.find(gang);
      past != past_.end() && past->second.status.id() == request.id()) {
    send(past->second.status, link);
    return false;
  }
  if (found != parts_.end()) {
    send(make_status(request.id(), wire::EXEC_REFUSED, "another exec-on runs this part already"),
         link);
    return false;
  }
  if (request.wish() == wire::EXEC_END) {
    const bool freed = ledger_.release(gang);
    send(make_status(request.id(), wire::EXEC_ENDED, "it has not been started"), link);
    return freed;
  }
  send(start(request), link);
  return true;
}

bool PartKeeper::stop(const GangId& gang, int64_t now_ms, int64_t grace_ms,
                      const std::string& reason) {
  const auto found = parts_.find(gang);
  if (found == parts_.end()) return past_.contains(gang);
  log::info(
      fmt::format("job {} attempt {}: stopping its part, {}", gang.first, gang.second, reason));
  found->second.part.stop(now_ms, grace_ms);
  return true;
}

void PartKeeper::end(const GangId& gang) {
  const auto found = parts_.find(gang);
  if (found != parts_.end()) found->second.part.end();
}

void PartKeeper::leave(int64_t now_ms, int64_t grace_ms, const std::string& reason,
                       CoordinatorLink& link) {
  for (auto& [gang, kept] : parts_) {
    kept.part.leave(now_ms, grace_ms, reason);
    send(status_of(kept), link);
  }
}

void PartKeeper::on_reaped(pid_t pid, int status) {
  for (auto& [gang, kept] : parts_) kept.part.on_reaped(pid, status);
}

bool PartKeeper::advance_to(int64_t now_ms, CoordinatorLink& link) {
  std::erase_if(past_,
                [&](const auto& entry) { return now_ms - entry.second.ended_ms > kRememberedMs; });
  bool changed = false;
  for (auto kept = parts_.begin(); kept != parts_.end();) {
    const auto& [gang, entry] = *kept;
    if (!kept->second.part.advance_to(now_ms)) {
      ++kept;
      continue;
    }
    auto status = make_status(entry.exec_id, wire::EXEC_ENDED, entry.part.last_output());
    status.set_exit_code(entry.part.exit_code());
    log::info(fmt::format("job {} attempt {}: its part here is over", gang.first, gang.second));
    send(status, link);
    ledger_.end(gang);
    past_[gang] = {.status = std::move(status), .ended_ms = now_ms};
    kept = parts_.erase(kept);
    changed = true;
  }
  return changed;
}

}  // namespace tunefleet::agent
