#include "worker/agent/agent.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include "proto/log.h"

namespace tunefleet::agent {
namespace {

constexpr int64_t kBeatMs = 1'000;
constexpr int64_t kUnconnectedMs = 200;  ///< Until the next try while there is no connection.
constexpr int64_t kConnectionMissedMs = 5'000;  ///< Before the log says that there is none.
constexpr int64_t kGangPollMs = 100;  ///< How often the files of running gangs are looked at.
constexpr int64_t kShutdownGraceMs = 10'000;
constexpr int64_t kLastAckMs =
    2'000;  ///< How long a leaving agent waits for its last reports to be acknowledged.

int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

wire::GangRole role_of(SlotUse use) {
  switch (use) {
    case SlotUse::kLead:
      return wire::GANG_LEAD;
    case SlotUse::kMember:
      return wire::GANG_MEMBER;
    case SlotUse::kReserved:
      break;
  }
  return wire::GANG_RESERVED;
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::make(const AgentOptions& options) {
  const auto keys = read_node_keys(options.launch.curve_file);
  if (!keys) return fail(keys.error());
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  remove_stale_scratch();
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const int signals = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) {
    return fail(ErrorCode::kInternal, fmt::format("signalfd failed: {}", std::strerror(errno)));
  }
  try {
    return std::unique_ptr<Agent>(new Agent(options, *keys, signals));
  } catch (const zmq::error_t& error) {
    ::close(signals);
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("bad coordinator address, write tcp://host:port, several with commas: {} ({})",
                    options.launch.coordinator, error.what()));
  }
}

Agent::Agent(const AgentOptions& options, const NodeKeys& keys, int signals)
    : options_(options),
      link_(options.launch.coordinator, keys),
      signals_(signals),
      ledger_(options.slots),
      parts_(options_.launch, ledger_),
      ends_(options.launch.host) {}

Agent::~Agent() {
  if (signals_ >= 0) ::close(signals_);
}

int Agent::run() {
  log::info(fmt::format("offering {} {} as {} to {}", options_.slots,
                        options_.slots == 1 ? "slot" : "slots", options_.launch.host,
                        options_.launch.coordinator));
  while (!may_leave(steady_ms())) {
    wait_for_something();
    take_signals();
    take_messages();
    advance_gangs();
    ends_.send(link_, steady_ms());
    if (steady_ms() >= next_beat_ms_) send_beat();
  }
  return 0;
}

void Agent::wait_for_something() {
  std::array<zmq::pollitem_t, 2> items{zmq::pollitem_t{link_.poll_handle(), 0, ZMQ_POLLIN, 0},
                                       zmq::pollitem_t{nullptr, signals_, ZMQ_POLLIN, 0}};
  const int64_t busy = gangs_.empty() && parts_.empty() ? kBeatMs : kGangPollMs;
  const int64_t wait = std::clamp<int64_t>(next_beat_ms_ - steady_ms(), 0, busy);
  try {
    zmq::poll(items.data(), items.size(), std::chrono::milliseconds(wait));
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;
  }
}

void Agent::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGCHLD) continue;
    if (leave_asked_ms_ == 0) leave();
  }
  // One SIGCHLD may stand for several children; orphans we adopted are reaped here too.
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    for (auto& [id, gang] : gangs_) gang.on_reaped(pid, status);
    parts_.on_reaped(pid, status);
  }
}

void Agent::leave() {
  leave_asked_ms_ = steady_ms();
  log::info(fmt::format("asked to end, stopping {} gangs", ledger_.entries().size()));
  const std::string reason = fmt::format(
      "the agent was stopped; start it and submit the job again: {}", options_.launch.host);
  for (auto& [id, gang] : gangs_) gang.stop(leave_asked_ms_, kShutdownGraceMs, reason);
  parts_.leave(leave_asked_ms_, kShutdownGraceMs, reason, link_);
  ledger_.expire(std::numeric_limits<int64_t>::max());  // Nothing that is kept will be used.
  next_beat_ms_ = 0;
}

void Agent::advance_gangs() {
  for (auto gang = gangs_.begin(); gang != gangs_.end();) {
    if (!gang->second.advance_to(steady_ms())) {
      ++gang;
      continue;
    }
    gang_is_over(gang->second);
    ledger_.end(gang->first);
    gang = gangs_.erase(gang);
  }
  for (const auto& [job, attempt] : ledger_.expire(steady_ms())) {
    log::info(fmt::format("job {} attempt {}: its slots were kept in vain", job, attempt));
    next_beat_ms_ = 0;
  }
  if (parts_.advance_to(steady_ms(), link_)) next_beat_ms_ = 0;
}

void Agent::gang_is_over(const Gang& gang) {
  const auto failure = gang.failure();
  const GangOrder& order = gang.order();
  log::info(fmt::format(
      "job {} attempt {}: {}", order.job, order.attempt,
      failure ? fmt::format("ended, rank {}: {}", failure->rank, failure->message) : "ended well"));
  ends_.add(order, failure, gang.result_json());
  next_beat_ms_ = 0;  // After GangEnded: a beat that no longer lists the gang.
}

void Agent::send_beat() {
  wire::Envelope envelope;
  auto& beat = *envelope.mutable_agent_beat();
  beat.set_host(options_.launch.host);
  beat.set_slots(static_cast<uint32_t>(options_.slots));
  beat.set_cuda(options_.cuda);
  for (const auto& [id, entry] : ledger_.entries()) {
    auto& status = *beat.add_gangs();
    status.set_job(id.first);
    status.set_attempt(static_cast<uint64_t>(id.second));
    status.set_role(role_of(entry.use));
  }
  const bool connected = link_.send(std::move(envelope)) != 0;
  next_beat_ms_ = steady_ms() + (connected ? kBeatMs : kUnconnectedMs);
  tell_connection(connected);
}

void Agent::tell_connection(bool connected) {
  const int64_t now = steady_ms();
  if (connected) {
    if (!connected_) log::info("connected to the coordinator: " + link_.endpoint());
    connected_ = connection_told_ = true;
    last_connected_ms_ = now;
    return;
  }
  connected_ = false;
  if (last_connected_ms_ == 0) last_connected_ms_ = now;
  if (now - last_connected_ms_ < kConnectionMissedMs || !std::exchange(connection_told_, false))
    return;
  log::warning(fmt::format(
      "no connection to the coordinator, trying on: is it running, and is the public key of {} in "
      "its keys/allowed? {}",
      options_.launch.curve_file.string(), options_.launch.coordinator));
}

bool Agent::may_leave(int64_t now_ms) {
  if (leave_asked_ms_ == 0 || !gangs_.empty() || !parts_.empty()) return false;
  if (gangs_gone_ms_ == 0) gangs_gone_ms_ = now_ms;
  return ends_.empty() || now_ms - gangs_gone_ms_ > kLastAckMs;
}

}  // namespace tunefleet::agent
