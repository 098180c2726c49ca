#include "worker/agent/gang_launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "worker/agent/process_tree.h"
#include "worker/agent/run_files.h"

extern char** environ;

namespace tunefleet::agent {
namespace {

constexpr std::string_view kScratchPrefix = "tunefleet.";
constexpr std::string_view kNodePrefix = "agent-";
constexpr size_t kLongestHostName = 255;

std::filesystem::path scratch_base() {
  std::error_code error;
  const std::filesystem::path shared = "/dev/shm";
  return std::filesystem::is_directory(shared, error) ? shared
                                                      : std::filesystem::temp_directory_path(error);
}

/// Options that make mpirun reach other hosts by `agent exec-on`, and nothing else.
std::vector<std::string> words_for_parts(const LaunchOptions& options, const GangOrder& order) {
  std::string hosts;
  for (const auto& part : order.parts) {
    hosts += fmt::format("{}{}:{}", hosts.empty() ? "" : ",", node_name_of(part.host), part.ranks);
  }
  // Names are labels here, nothing to resolve or shorten; a node keeps its own files, so that
  // nothing of this one's environment goes on orted's command line; and orted stays a child of
  // whom started it.
  return {"-host",
          hosts,
          "--noprefix",
          "--leave-session-attached",
          "--mca",
          "plm",
          "rsh",
          "--mca",
          "plm_rsh_agent",
          options.agent_program.string() + " exec-on",
          "--mca",
          "plm_rsh_no_tree_spawn",
          "1",
          "--mca",
          "plm_rsh_pass_environ_mca_params",
          "0",
          "--mca",
          "orte_keep_fqdn_hostnames",
          "1",
          "--mca",
          "orte_do_not_resolve",
          "1"};
}

/// Variables of another gang, of an MPI job this agent may be part of, and secrets that are not the
/// ranks'.
constexpr std::array<std::string_view, 17> kNotInherited{"OMPI_COMM_",
                                                         "PMIX_",
                                                         "OMPI_MCA_orte_tmpdir_base=",
                                                         "OMPI_MCA_btl_vader_backing_directory=",
                                                         "OMPI_MCA_odls_base_sigkill_timeout=",
                                                         "TUNEFLEET_JOB=",
                                                         "TUNEFLEET_ATTEMPT=",
                                                         "TUNEFLEET_RANK_",
                                                         "TUNEFLEET_RUN_",
                                                         "TUNEFLEET_COORDINATOR=",
                                                         "TUNEFLEET_CURVE=",
                                                         "TUNEFLEET_EXIT_DIR=",
                                                         "TUNEFLEET_HOST=",
                                                         "TUNEFLEET_GANG=",
                                                         "TUNEFLEET_ORTED=",
                                                         "TUNEFLEET_SCRATCH=",
                                                         "TUNEFLEET_API_KEY="};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (auto& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

/// In the child, between fork and exec: only async-signal-safe calls. Never returns.
[[noreturn]] void become_launcher(char** arguments, char** variables, int output, int error_pipe,
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

}  // namespace

std::string gang_tag(const GangOrder& order) {
  return fmt::format("{}/{}", order.job, order.attempt);
}

bool is_plain_host_name(const std::string& host) {
  return !host.empty() && host.size() <= kLongestHostName && host.front() != '.' &&
         std::ranges::all_of(host, [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
         });
}

std::string node_name_of(const std::string& host) { return std::string(kNodePrefix) + host; }

std::string host_of_node_name(const std::string& node) {
  return node.starts_with(kNodePrefix) ? node.substr(kNodePrefix.size()) : "";
}

std::filesystem::path make_scratch() {
  std::string pattern =
      (scratch_base() / fmt::format("{}{}.XXXXXX", kScratchPrefix, ::getpid())).string();
  if (::mkdtemp(pattern.data()) == nullptr) return {};
  return pattern;
}

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

Result<std::vector<std::string>> mpirun_words(const LaunchOptions& options,
                                              const GangOrder& order) {
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
                                 kLeadPatience};
  if (::geteuid() == 0) words.emplace_back("--allow-run-as-root");
  if (!order.parts.empty()) {
    if (options.agent_program.string().find(' ') != std::string::npos) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("mpirun cannot use an agent with a space in its path, install it "
                              "elsewhere: {}",
                              options.agent_program.string()));
    }
    const auto more = words_for_parts(options, order);
    words.insert(words.end(), more.begin(), more.end());
  }
  const std::string run = order.run_directory.string();
  words.insert(words.end(),
               {options.agent_program.string(), "exec-rank", "--", options.trainer_program.string(),
                "run", run + "/job.json", "--output-dir", run});
  return words;
}

std::string orted_program(const LaunchOptions& options) {
  const auto directory = std::filesystem::path(options.mpirun).parent_path();
  return directory.empty() ? "orted" : (directory / "orted").string();
}

std::vector<std::string> gang_environment(const LaunchOptions& options, const GangOrder& order,
                                          const std::filesystem::path& scratch) {
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
  set("TUNEFLEET_COORDINATOR", options.coordinator);
  set("TUNEFLEET_RANK_ENDPOINT", order.rank_endpoint + "," + options.coordinator);
  set("TUNEFLEET_CURVE", options.curve_file.string());
  set("TUNEFLEET_RUN_DIRECTORY", order.run_directory.string());
  set("TUNEFLEET_EXIT_DIR", exit_directory_of(order.run_directory, order.attempt).string());
  set("TUNEFLEET_HOST", options.host);
  set("TUNEFLEET_ORTED", orted_program(options));
  set(kGangVariable, gang_tag(order));
  if (!scratch.empty()) {
    set("OMPI_MCA_orte_tmpdir_base", scratch.string());
    set("TUNEFLEET_SCRATCH", scratch.string());
  }
  return variables;
}

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
    become_launcher(const_cast<char**>(argument_list.data()),
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

}  // namespace tunefleet::agent
