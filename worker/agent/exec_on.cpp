#include "worker/agent/exec_on.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <utility>

#include "worker/agent/coordinator_link.h"
#include "worker/agent/gang_launch.h"
#include "worker/agent/orted_command.h"
#include "worker/agent/run_files.h"

namespace tunefleet::agent {
namespace {

constexpr int kFailed = 1;
constexpr int kLeadIsGone = SIGHUP;
constexpr int64_t kAskAgainMs = 200;  ///< Until the first answer.
constexpr int64_t kAskMs = 1'000;     ///< From then on.
constexpr int64_t kPollMs = 50;
constexpr int64_t kAnswerMs = 15'000;    ///< For the first answer.
constexpr int64_t kConfirmedMs = 2'000;  ///< For the part's end, once it was asked for.

int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string random_id() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", device());
  return id;
}

/// From now on these arrive by the descriptor; no thread exists yet that could take them.
int signal_descriptor() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, kLeadIsGone}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  ::prctl(PR_SET_PDEATHSIG, kLeadIsGone);
  return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/// One part of a gang, seen from the lead.
class RemotePart {
 public:
  RemotePart(std::string host, const std::string& command, const NodeKeys& keys, int signals);
  /// The program's exit code.
  int run();

 private:
  bool is_over();
  void wait();
  void take_signals();
  void take_messages();
  void take_status(const wire::ExecStatus& status);
  void ask();
  void ends_badly(const std::string& message);

  std::string host_;
  std::filesystem::path exit_directory_;
  CoordinatorLink link_;
  int signals_;
  wire::ExecRequest request_;
  bool answered_ = false;
  bool stop_told_ = false;
  std::optional<int> exit_code_;
  int64_t began_ms_ = steady_ms();
  int64_t next_ask_ms_ = 0;
  int64_t end_asked_ms_ = 0;  ///< 0: the part may run on.
};

RemotePart::RemotePart(std::string host, const std::string& command, const NodeKeys& keys,
                       int signals)
    : host_(std::move(host)),
      exit_directory_(environment("TUNEFLEET_EXIT_DIR")),
      link_(environment("TUNEFLEET_COORDINATOR"), keys),
      signals_(signals) {
  request_.set_id(random_id());
  request_.set_job(environment("TUNEFLEET_JOB"));
  request_.set_attempt(std::strtoull(environment("TUNEFLEET_ATTEMPT").c_str(), nullptr, 10));
  request_.set_host(host_);
  request_.set_command(command);
  request_.set_run_directory(environment("TUNEFLEET_RUN_DIRECTORY"));
  request_.set_rank_endpoint(environment("TUNEFLEET_RANK_ENDPOINT"));
  request_.set_wish(wire::EXEC_RUN);
}

int RemotePart::run() {
  while (!is_over()) {
    if (steady_ms() >= next_ask_ms_) ask();
    wait();
    take_signals();
    take_messages();
  }
  return exit_code_.value_or(kFailed);
}

bool RemotePart::is_over() {
  if (exit_code_) return true;
  if (end_asked_ms_ != 0) return steady_ms() - end_asked_ms_ > kConfirmedMs;
  if (answered_ || steady_ms() - began_ms_ < kAnswerMs) return false;
  ends_badly(
      fmt::format("the agent did not answer through the coordinator within {} s, is it "
                  "running?",
                  kAnswerMs / 1000));
  return true;
}

void RemotePart::ask() {
  wire::Envelope envelope;
  *envelope.mutable_exec_request() = request_;
  const bool sent = link_.send(std::move(envelope)) != 0;
  next_ask_ms_ = steady_ms() + (!sent                             ? kPollMs
                                : answered_ && end_asked_ms_ == 0 ? kAskMs
                                                                  : kAskAgainMs);
}

void RemotePart::wait() {
  std::array<zmq::pollitem_t, 2> items{zmq::pollitem_t{link_.poll_handle(), 0, ZMQ_POLLIN, 0},
                                       zmq::pollitem_t{nullptr, signals_, ZMQ_POLLIN, 0}};
  zmq::poll(items.data(), items.size(), std::chrono::milliseconds(kPollMs));
}

void RemotePart::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo != static_cast<uint32_t>(kLeadIsGone)) {
      if (request_.wish() == wire::EXEC_RUN) request_.set_wish(wire::EXEC_STOP);
    } else if (end_asked_ms_ == 0) {
      request_.set_wish(wire::EXEC_END);
      end_asked_ms_ = steady_ms();
    }
    next_ask_ms_ = 0;
  }
}

void RemotePart::take_messages() {
  while (const auto envelope = link_.receive()) {
    if (envelope->has_exec_status() && envelope->exec_status().id() == request_.id()) {
      take_status(envelope->exec_status());
    }
  }
}

void RemotePart::take_status(const wire::ExecStatus& status) {
  answered_ = true;
  switch (status.phase()) {
    case wire::EXEC_RUNNING:
      if (!status.message().empty() && !std::exchange(stop_told_, true)) {
        write_part_note(exit_directory_, host_, {.ended = false, .message = status.message()});
      }
      break;
    case wire::EXEC_ENDED:
      if (status.exit_code() != 0) {
        ends_badly(fmt::format("orted ended with code {} there; its last lines: {}",
                               status.exit_code(),
                               status.message().empty() ? "(none)" : status.message()));
      }
      exit_code_ = status.exit_code();
      break;
    default:
      ends_badly("the agent does not run its part: " + status.message());
      exit_code_ = kFailed;
      break;
  }
}

/// Tells the lead's agent and, by way of mpirun, the log; but not of an end that was asked for.
void RemotePart::ends_badly(const std::string& message) {
  if (end_asked_ms_ != 0) return;
  fmt::print(stderr, "{}: {}\n", host_, message);
  const auto noted = write_part_note(exit_directory_, host_, {.ended = true, .message = message});
  if (!noted) fmt::print(stderr, "{}\n", noted.error().message);
}

/// orted of the lead's own node takes this process' place. It gets a directory apart from
/// mpirun's: both clean up theirs.
int become_orted(const std::string& command) {
  const auto options = orted_options(command);
  if (!options) {
    fmt::print(stderr, "{}\n", options.error().message);
    return kFailed;
  }
  const std::filesystem::path scratch = environment("OMPI_MCA_orte_tmpdir_base");
  if (!scratch.empty()) {
    const auto own = scratch / "orted";
    std::error_code error;
    std::filesystem::create_directory(own, error);
    ::setenv("OMPI_MCA_orte_tmpdir_base", own.c_str(), 1);
  }
  ::setenv(kPatienceVariable, kLeadPatience, 1);
  std::string program = environment("TUNEFLEET_ORTED");
  std::vector<char*> words{program.data()};
  for (const auto& word : *options) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::execvp(words[0], words.data());
  fmt::print(stderr, "cannot start orted: {} ({})\n", program, std::strerror(errno));
  return kFailed;
}

}  // namespace

int run_exec_on(const std::vector<std::string>& node_and_command) {
  const std::string host = host_of_node_name(node_and_command.front());
  const std::string command =
      fmt::format("{}", fmt::join(node_and_command.begin() + 1, node_and_command.end(), " "));
  if (host == environment("TUNEFLEET_HOST")) return become_orted(command);
  const int signals = signal_descriptor();
  const auto keys = read_node_keys(environment("TUNEFLEET_CURVE"));
  if (!keys || signals < 0) {
    fmt::print(stderr, "exec-on is started by mpirun of an agent: {}\n",
               keys ? std::strerror(errno) : keys.error().message);
    return kFailed;
  }
  try {
    return RemotePart(host, command, *keys, signals).run();
  } catch (const zmq::error_t& error) {
    fmt::print(stderr, "exec-on ends: {}\n", error.what());
    return kFailed;
  }
}

}  // namespace tunefleet::agent
