#include "worker/agent/gang.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "worker/agent/process_tree.h"

extern char** environ;

namespace tunefleet::agent {
namespace {

/// After the first rank failed: how long the others may still tell their side before they are
/// killed.
constexpr int64_t kLastWordsMs = 300;
/// After all ranks ended well: how long mpirun may take to leave.
constexpr int64_t kMpirunLeavesMs = 10'000;

constexpr std::string_view kScratchPrefix = "tunefleet.";

std::filesystem::path scratch_base() {
  std::error_code error;
  const std::filesystem::path shared = "/dev/shm";
  return std::filesystem::is_directory(shared, error) ? shared
                                                      : std::filesystem::temp_directory_path(error);
}

/// Open MPI's files of one gang. In memory where there is some: its shared-memory segments lie
/// there too.
std::filesystem::path make_scratch() {
  std::string pattern =
      (scratch_base() / fmt::format("{}{}.XXXXXX", kScratchPrefix, ::getpid())).string();
  if (::mkdtemp(pattern.data()) == nullptr) return {};
  return pattern;
}

std::vector<std::string> mpirun_words(const LaunchOptions& options, const GangOrder& order,
                                      const std::filesystem::path& scratch) {
  std::vector<std::string> words{options.mpirun,
                                 "-np",
                                 std::to_string(order.ranks),
                                 "--oversubscribe",
                                 "--bind-to",
                                 "none",
                                 "--mca",
                                 "btl_vader_single_copy_mechanism",
                                 "none",
                                 "--mca",
                                 "odls_base_sigkill_timeout",
                                 "3600"};
  if (::geteuid() == 0) words.emplace_back("--allow-run-as-root");
  if (!scratch.empty()) {
    words.insert(words.end(), {"--mca", "orte_tmpdir_base", scratch.string(), "--mca",
                               "btl_vader_backing_directory", scratch.string()});
  }
  const std::string run = order.run_directory.string();
  words.insert(words.end(),
               {options.agent_program.string(), "exec-rank", "--", options.trainer_program.string(),
                "run", run + "/job.json", "--output-dir", run});
  return words;
}

/// Variables of another gang, of an MPI job this agent may be part of, and secrets that are not the
/// ranks'.
constexpr std::array<std::string_view, 10> kNotInherited{
    "OMPI_COMM_",          "PMIX_",           "TUNEFLEET_JOB=",
    "TUNEFLEET_ATTEMPT=",  "TUNEFLEET_RANK_", "TUNEFLEET_CURVE=",
    "TUNEFLEET_EXIT_DIR=", "TUNEFLEET_HOST=", "TUNEFLEET_GANG=",
    "TUNEFLEET_API_KEY="};

/// The environment ranks get: ours, less what is not theirs, and the gang's.
std::vector<std::string> rank_environment(const LaunchOptions& options, const GangOrder& order,
                                          const std::string& tag) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool ours = std::ranges::any_of(
        kNotInherited, [text](std::string_view start) { return text.starts_with(start); });
    if (!ours) variables.emplace_back(text);
  }
  const auto set = [&variables](std::string_view name, const std::string& value) {
    variables.push_back(fmt::format("{}={}", name, value));
  };
  set("TUNEFLEET_JOB", order.job);
  set("TUNEFLEET_ATTEMPT", std::to_string(order.attempt));
  set("TUNEFLEET_RANK_ENDPOINT", order.rank_endpoint);
  set("TUNEFLEET_CURVE", options.curve_file.string());
  set("TUNEFLEET_EXIT_DIR", (order.run_directory / "exit").string());
  set("TUNEFLEET_HOST", options.host);
  set(kGangVariable, tag);
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (auto& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

/// In the child, between fork and exec: only async-signal-safe calls. Never returns.
[[noreturn]] void become_mpirun(char** arguments, char** variables, int output, int error_pipe,
                                pid_t parent) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::execvpe(arguments[0], arguments, variables);
  const int error = errno;
  [[maybe_unused]] const ssize_t told = ::write(error_pipe, &error, sizeof error);
  ::_exit(127);
}

/// Starts mpirun; 0 and its pid, or the errno of what failed.
int spawn(std::vector<std::string> words, std::vector<std::string> variables,
          const std::filesystem::path& log, pid_t& pid) {
  std::array<int, 2> pipe{};
  const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) return errno;
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
    const int error = errno;
    ::close(output);
    return error;
  }
  const auto argument_list = pointers(words);
  const auto variable_list = pointers(variables);
  const pid_t self = ::getpid();
  pid = ::fork();
  if (pid == 0) {
    become_mpirun(const_cast<char**>(argument_list.data()),
                  const_cast<char**>(variable_list.data()), output, pipe[1], self);
  }
  int error = pid < 0 ? errno : 0;
  ::close(pipe[1]);
  ::close(output);
  // Ends at exec (close-on-exec) or with the errno of a failed one.
  if (pid > 0 && ::read(pipe[0], &error, sizeof error) == static_cast<ssize_t>(sizeof error)) {
    ::waitpid(pid, nullptr, 0);
  }
  ::close(pipe[0]);
  return error;
}

}  // namespace

void remove_stale_scratch() {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(scratch_base(), error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kScratchPrefix)) continue;
    const auto pid = static_cast<pid_t>(std::atoi(name.c_str() + kScratchPrefix.size()));
    std::error_code ignored;
    if (pid > 0 && !is_running(pid)) std::filesystem::remove_all(entry->path(), ignored);
  }
}

Gang::Gang(const LaunchOptions& options, const GangOrder& order)
    : host_(options.host),
      order_(order),
      exit_directory_(order.run_directory / "exit"),
      tag_(fmt::format("{}/{}", order.job, order.attempt)) {}

Result<Gang> Gang::start(const LaunchOptions& options, const GangOrder& order) {
  Gang gang(options, order);
  std::error_code error;
  std::filesystem::remove_all(gang.exit_directory_, error);
  std::filesystem::remove(order.run_directory / "result.json", error);
  std::filesystem::create_directories(gang.exit_directory_, error);
  if (error) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("the run directory cannot be used, is shared storage mounted? {} ({})",
                            order.run_directory.string(), error.message()));
  }
  gang.scratch_ = make_scratch();
  const int problem = spawn(mpirun_words(options, order, gang.scratch_),
                            rank_environment(options, order, gang.tag_),
                            order.run_directory / "ranks.log", gang.mpirun_);
  if (problem != 0) {
    std::filesystem::remove_all(gang.scratch_, error);
    return fail(
        ErrorCode::kNotFound,
        fmt::format("cannot start mpirun, install Open MPI (apt-get install openmpi-bin) or "
                    "name it with --mpirun: {} ({})",
                    options.mpirun, std::strerror(problem)));
  }
  gang.mpirun_running_ = true;
  return gang;
}

void Gang::stop(int64_t now_ms, int64_t grace_ms, const std::string& reason) {
  if (stopping()) return;
  stop_reason_ = reason;
  stop_deadline_ms_ = now_ms + std::max<int64_t>(grace_ms, 1);
  terminate_ranks();
}

void Gang::terminate_ranks() {
  const RankFiles files = read_rank_files(exit_directory_);
  for (const auto& [rank, pid] : files.exec_pids) {
    if (files.exits.contains(rank) || !terminated_.insert(rank).second) continue;
    // A number in a file may have become another process' since.
    const auto ours = gang_processes(mpirun_, tag_);
    if (std::ranges::find(ours, static_cast<pid_t>(pid)) == ours.end()) continue;
    ::kill(static_cast<pid_t>(pid), SIGTERM);
  }
}

void Gang::on_reaped(pid_t pid, int status) {
  if (pid != mpirun_) return;
  mpirun_running_ = false;
  launcher_.by_itself = kill_after_ms_ == 0;
  if (WIFSIGNALED(status)) {
    launcher_.signal = WTERMSIG(status);
  } else {
    launcher_.exit_code = WEXITSTATUS(status);
  }
}

bool Gang::rank_failed(const RankFiles& files) {
  for (const auto& [rank, pid] : files.exec_pids) {
    const auto report = files.exits.find(rank);
    if (report != files.exits.end() && report->second.failed()) return true;
    // Its report is written before exec-rank ends: without one, exec-rank was killed.
    if (report == files.exits.end() && !is_running(static_cast<pid_t>(pid)) &&
        !std::filesystem::exists(exit_directory_ / fmt::format("{}.json", rank))) {
      launcher_.vanished_rank = rank;
      return true;
    }
  }
  return false;
}

/// When everything left of the gang is to be killed; 0: not yet.
int64_t Gang::end_of_patience(int64_t now_ms) {
  if (!mpirun_running_) return now_ms;
  const RankFiles files = read_rank_files(exit_directory_);
  const bool all_reported = static_cast<int>(files.exits.size()) >= order_.ranks;
  if (stopping()) {
    terminate_ranks();
    return all_reported || now_ms >= stop_deadline_ms_ ? now_ms : 0;
  }
  if (rank_failed(files)) return now_ms + kLastWordsMs;
  return all_reported ? now_ms + kMpirunLeavesMs : 0;
}

bool Gang::advance_to(int64_t now_ms) {
  if (kill_after_ms_ == 0) kill_after_ms_ = end_of_patience(now_ms);
  if (kill_after_ms_ == 0) return false;
  const auto left = gang_processes(mpirun_, tag_);
  if (left.empty() && !mpirun_running_) {
    launcher_.last_output = last_lines(order_.run_directory / "ranks.log", 5);
    std::error_code ignored;
    if (!scratch_.empty()) std::filesystem::remove_all(scratch_, ignored);
    return true;
  }
  if (!mpirun_running_ || now_ms >= kill_after_ms_) kill_all();
  return false;
}

void Gang::kill_all() const {
  for (const pid_t pid : gang_processes(mpirun_, tag_)) ::kill(pid, SIGKILL);
}

std::optional<Failure> Gang::failure() const {
  const RankFiles files = read_rank_files(exit_directory_);
  const bool all_well =
      std::ranges::all_of(files.exits, [](const auto& exit) { return !exit.second.failed(); }) &&
      static_cast<int>(files.exits.size()) >= order_.ranks;
  if (all_well) return std::nullopt;
  if (stopping()) {
    return Failure{.rank = -1,
                   .host = host_,
                   .code = std::string(error_code_name(ErrorCode::kCancelled)),
                   .message = stop_reason_};
  }
  return first_failure(files, order_.ranks, host_, launcher_);
}

std::string Gang::result_json() const {
  return valid_utf8(file_text(order_.run_directory / "result.json"));
}

}  // namespace tunefleet::agent
