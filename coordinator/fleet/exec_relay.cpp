#include "coordinator/fleet/exec_relay.h"

namespace tunefleet::coordinator {
namespace {

/// An exec-on asks each second; one that is silent for so long is gone.
constexpr int64_t kForgottenMs = 30'000;
constexpr size_t kMaxAskers = 100'000;
constexpr size_t kLongestId = 64;

}  // namespace

std::optional<Relayed> ExecRelay::on_message(const std::string& peer,
                                             const wire::Envelope& envelope, int64_t now_ms) {
  switch (envelope.body_case()) {
    case wire::Envelope::kAgentBeat:
      agents_[envelope.agent_beat().host()] = peer;
      return std::nullopt;
    case wire::Envelope::kExecRequest:
      return pass_request(peer, envelope.exec_request(), now_ms);
    case wire::Envelope::kExecStatus:
      return pass_status(peer, envelope.exec_status());
    default:
      return std::nullopt;
  }
}

std::optional<Relayed> ExecRelay::pass_request(const std::string& peer,
                                               const wire::ExecRequest& request, int64_t now_ms) {
  if (request.id().empty() || request.id().size() > kLongestId) return std::nullopt;
  const auto known = askers_.find(request.id());
  if (known == askers_.end()) {
    std::erase_if(askers_,
                  [&](const auto& asker) { return now_ms - asker.second.heard_ms > kForgottenMs; });
    if (askers_.size() >= kMaxAskers) return std::nullopt;
  }
  askers_[request.id()] = {.peer = peer, .host = request.host(), .heard_ms = now_ms};
  const auto agent = agents_.find(request.host());
  if (agent == agents_.end()) return std::nullopt;  // It may be on its way back: asked again.
  Relayed relayed{.peer = agent->second};
  *relayed.envelope.mutable_exec_request() = request;
  return relayed;
}

std::optional<Relayed> ExecRelay::pass_status(const std::string& peer,
                                              const wire::ExecStatus& status) const {
  const auto asker = askers_.find(status.id());
  if (asker == askers_.end() || asker->second.host != status.host()) return std::nullopt;
  const auto agent = agents_.find(status.host());
  if (agent == agents_.end() || agent->second != peer) return std::nullopt;
  Relayed relayed{.peer = asker->second.peer};
  *relayed.envelope.mutable_exec_status() = status;
  return relayed;
}

}  // namespace tunefleet::coordinator
