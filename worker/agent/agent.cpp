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
#include <utility>

#include "proto/log.h"

namespace tunefleet::agent {
namespace {

constexpr int64_t kBeatMs = 1'000;
constexpr int64_t kUnconnectedMs = 200;  ///< Until the next try while there is no connection.
constexpr int64_t kConnectionMissedMs = 5'000;  ///< Before the log says that there is none.
constexpr int64_t kResendMs = 1'000;
constexpr int64_t kGangPollMs = 100;  ///< How often the files of running gangs are looked at.
constexpr int64_t kShutdownGraceMs = 10'000;
constexpr int64_t kLastAckMs =
    2'000;  ///< How long a leaving agent waits for its last reports to be acknowledged.

int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// The same fields under the same names, for gang.json.
nlohmann::json to_json(const wire::GangEnded& ended) {
  nlohmann::json object{{"succeeded", ended.succeeded()}, {"result_json", ended.result_json()}};
  if (ended.has_failure()) {
    object["failure"] = {{"rank", ended.failure().rank()},
                         {"host", ended.failure().host()},
                         {"code", ended.failure().code()},
                         {"message", ended.failure().message()}};
  }
  return object;
}

std::optional<Failure> failure_from(const nlohmann::json& ended) {
  if (ended.value("succeeded", false)) return std::nullopt;
  const auto failure = ended.value("failure", nlohmann::json::object());
  return Failure{.rank = failure.value("rank", -1),
                 .host = failure.value("host", ""),
                 .code = failure.value("code", "internal"),
                 .message = failure.value("message", "")};
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
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("bad coordinator address, write tcp://host:port: {} ({})",
                            options.coordinator, error.what()));
  }
}

Agent::Agent(const AgentOptions& options, const NodeKeys& keys, int signals)
    : options_(options), link_(options.coordinator, keys), signals_(signals) {}

Agent::~Agent() {
  if (signals_ >= 0) ::close(signals_);
}

int Agent::run() {
  log::info(fmt::format("offering {} {} as {} to {}", options_.slots,
                        options_.slots == 1 ? "slot" : "slots", options_.launch.host,
                        options_.coordinator));
  while (!may_leave(steady_ms())) {
    wait_for_something();
    take_signals();
    take_messages();
    advance_gangs();
    send_ends();
    if (steady_ms() >= next_beat_ms_) send_beat();
  }
  return 0;
}

void Agent::wait_for_something() {
  std::array<zmq::pollitem_t, 2> items{zmq::pollitem_t{link_.poll_handle(), 0, ZMQ_POLLIN, 0},
                                       zmq::pollitem_t{nullptr, signals_, ZMQ_POLLIN, 0}};
  const int64_t busy = gangs_.empty() ? kBeatMs : kGangPollMs;
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
    if (leave_asked_ms_ != 0) continue;
    leave_asked_ms_ = steady_ms();
    log::info(fmt::format("asked to end, stopping {} gangs", gangs_.size()));
    for (auto& [id, gang] : gangs_) {
      gang.stop(leave_asked_ms_, kShutdownGraceMs,
                "the agent was stopped; start it and submit the job again");
    }
  }
  // One SIGCHLD may stand for several children; orphans we adopted are reaped here too.
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    for (auto& [id, gang] : gangs_) gang.on_reaped(pid, status);
  }
}

void Agent::take_messages() {
  while (const auto envelope = link_.receive()) {
    switch (envelope->body_case()) {
      case wire::Envelope::kStartGang:
        acknowledge(envelope->sequence());
        start_gang(envelope->start_gang());
        break;
      case wire::Envelope::kStopGang:
        acknowledge(envelope->sequence());
        stop_gang(envelope->stop_gang());
        break;
      case wire::Envelope::kAck:
        std::erase_if(ends_, [&](const auto& entry) {
          return entry.second.sequence == envelope->ack().sequence();
        });
        break;
      case wire::Envelope::kRejected:
        log::error("the coordinator rejects this agent: " + envelope->rejected().message());
        break;
      default:
        break;
    }
  }
}

void Agent::acknowledge(uint64_t sequence) {
  wire::Envelope reply;
  reply.mutable_ack()->set_sequence(sequence);
  link_.send(std::move(reply));
}

int Agent::used_slots() const {
  int used = 0;
  for (const auto& [id, gang] : gangs_) used += gang.order().ranks;
  return used;
}

/// Starts a gang unless it runs, has run, or ends right now: whatever is so is told (again).
void Agent::start_gang(const wire::StartGang& message) {
  const GangOrder order{.job = message.job(),
                        .attempt = static_cast<int64_t>(message.attempt()),
                        .ranks = static_cast<int>(message.ranks()),
                        .run_directory = message.run_directory(),
                        .rank_endpoint = message.rank_endpoint().empty() ? options_.coordinator
                                                                         : message.rank_endpoint()};
  const GangId id{order.job, order.attempt};
  if (gangs_.contains(id) || ends_.contains(id)) return;
  const auto refuse = [&](ErrorCode code, std::string why) {
    report_end(order,
               Failure{.rank = -1,
                       .host = options_.launch.host,
                       .code = std::string(error_code_name(code)),
                       .message = std::move(why)},
               "");
  };
  const auto note = read_gang_note(order.run_directory);
  if (note && note->attempt == order.attempt) {
    if (note->ended) {
      return report_end(order, failure_from(*note->ended), note->ended->value("result_json", ""));
    }
    return refuse(ErrorCode::kUnavailable,
                  "the agent was restarted while the job ran; submit the job again");
  }
  if (leave_asked_ms_ != 0) {
    return refuse(ErrorCode::kUnavailable, "the agent is being stopped; submit the job again");
  }
  if (used_slots() + order.ranks > options_.slots) {
    return refuse(ErrorCode::kResourceExhausted,
                  fmt::format("not enough free slots: {} needed, {} free", order.ranks,
                              options_.slots - used_slots()));
  }
  const auto noted = write_gang_note(order.run_directory,
                                     {.attempt = order.attempt, .host = options_.launch.host});
  if (!noted) {
    return refuse(
        ErrorCode::kUnavailable,
        "the run directory cannot be used, is shared storage mounted? " + noted.error().message);
  }
  auto gang = Gang::start(options_.launch, order);
  if (!gang) return refuse(gang.error().code, gang.error().message);
  log::info(
      fmt::format("job {} attempt {}: started {} ranks", order.job, order.attempt, order.ranks));
  gangs_.emplace(id, std::move(*gang));
  next_beat_ms_ = 0;
}

void Agent::stop_gang(const wire::StopGang& message) {
  const GangId id{message.job(), static_cast<int64_t>(message.attempt())};
  const auto gang = gangs_.find(id);
  if (gang != gangs_.end()) {
    if (!gang->second.stopping()) {
      log::info(
          fmt::format("job {} attempt {}: stopping, {}", id.first, id.second, message.reason()));
    }
    gang->second.stop(steady_ms(), message.grace_ms(), message.reason());
  } else if (!ends_.contains(id)) {
    report_end({.job = id.first, .attempt = id.second},
               Failure{.rank = -1,
                       .host = options_.launch.host,
                       .code = std::string(error_code_name(ErrorCode::kCancelled)),
                       .message = "stopped before it ran: " + message.reason()},
               "");
  }
}

void Agent::advance_gangs() {
  for (auto gang = gangs_.begin(); gang != gangs_.end();) {
    if (!gang->second.advance_to(steady_ms())) {
      ++gang;
      continue;
    }
    gang_is_over(gang->second);
    gang = gangs_.erase(gang);
  }
}

void Agent::gang_is_over(const Gang& gang) {
  const auto failure = gang.failure();
  const GangOrder& order = gang.order();
  log::info(fmt::format(
      "job {} attempt {}: {}", order.job, order.attempt,
      failure ? fmt::format("ended, rank {}: {}", failure->rank, failure->message) : "ended well"));
  report_end(order, failure, gang.result_json());
  next_beat_ms_ = 0;  // After GangEnded: a beat that no longer lists the gang.
}

/// Notes the end in the run directory, then tells the coordinator until it acknowledges.
void Agent::report_end(const GangOrder& order, const std::optional<Failure>& failure,
                       const std::string& result_json) {
  Unacknowledged entry;
  entry.ended.set_job(order.job);
  entry.ended.set_attempt(static_cast<uint64_t>(order.attempt));
  entry.ended.set_succeeded(!failure);
  entry.ended.set_result_json(result_json);
  if (failure) {
    entry.ended.mutable_failure()->set_rank(failure->rank);
    entry.ended.mutable_failure()->set_host(valid_utf8(failure->host));
    entry.ended.mutable_failure()->set_code(valid_utf8(failure->code));
    entry.ended.mutable_failure()->set_message(valid_utf8(failure->message));
  }
  if (!order.run_directory.empty()) {
    const auto written = write_gang_note(
        order.run_directory,
        {.attempt = order.attempt, .host = options_.launch.host, .ended = to_json(entry.ended)});
    if (!written) log::warning("the end of a gang is not on disk: " + written.error().message);
  }
  ends_[{order.job, order.attempt}] = std::move(entry);
}

void Agent::send_ends() {
  for (auto& [id, entry] : ends_) {
    if (entry.sent_ms != 0 && steady_ms() - entry.sent_ms < kResendMs) continue;
    wire::Envelope envelope;
    *envelope.mutable_gang_ended() = entry.ended;
    entry.sequence = link_.send(std::move(envelope));
    entry.sent_ms = steady_ms();
  }
}

void Agent::send_beat() {
  wire::Envelope envelope;
  auto& beat = *envelope.mutable_agent_beat();
  beat.set_host(options_.launch.host);
  beat.set_slots(static_cast<uint32_t>(options_.slots));
  beat.set_cuda(options_.cuda);
  for (const auto& [id, gang] : gangs_) {
    auto& status = *beat.add_gangs();
    status.set_job(id.first);
    status.set_attempt(static_cast<uint64_t>(id.second));
  }
  const bool connected = link_.send(std::move(envelope)) != 0;
  next_beat_ms_ = steady_ms() + (connected ? kBeatMs : kUnconnectedMs);
  tell_connection(connected);
}

void Agent::tell_connection(bool connected) {
  const int64_t now = steady_ms();
  if (connected) {
    if (!connected_) log::info("connected to the coordinator: " + options_.coordinator);
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
      options_.launch.curve_file.string(), options_.coordinator));
}

bool Agent::may_leave(int64_t now_ms) {
  if (leave_asked_ms_ == 0 || !gangs_.empty()) return false;
  if (gangs_gone_ms_ == 0) gangs_gone_ms_ = now_ms;
  return ends_.empty() || now_ms - gangs_gone_ms_ > kLastAckMs;
}

}  // namespace tunefleet::agent
