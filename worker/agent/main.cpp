#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "proto/log.h"
#include "worker/agent/agent.h"
#include "worker/agent/exec_on.h"
#include "worker/agent/exec_rank.h"

namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

std::filesystem::path own_program() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

/// exec-rank and exec-on take a command as it is, so they are read by hand: what follows
/// `subcommand` (and "--"), or nothing when that was not asked for.
std::vector<std::string> command_after(std::string_view subcommand, int argc, char** argv) {
  if (argc < 4 || argv[1] != subcommand) return {};
  const int skipped = std::string_view(argv[2]) == "--" ? 3 : 2;
  return {argv + skipped, argv + argc};
}

int run_agent(tunefleet::agent::AgentOptions options) {
  std::error_code error;
  auto& launch = options.launch;
  launch.agent_program = own_program();
  launch.curve_file = std::filesystem::absolute(launch.curve_file, error);
  if (launch.trainer_program.empty()) {
    launch.trainer_program = launch.agent_program.parent_path() / "tunefleet-trainer";
  }
  launch.trainer_program = std::filesystem::absolute(launch.trainer_program, error);
  if (!std::filesystem::exists(launch.trainer_program, error)) {
    fmt::print(stderr, "error: no trainer there, build it or name it with --trainer: {}\n",
               launch.trainer_program.string());
    return kExitUsage;
  }
  const auto agent = tunefleet::agent::Agent::make(options);
  if (!agent) {
    fmt::print(stderr, "error: {}\n", agent.error().message);
    return kExitUsage;
  }
  return (*agent)->run();
}

}  // namespace

int main(int argc, char** argv) {
  if (const auto command = command_after("exec-rank", argc, argv); !command.empty()) {
    return tunefleet::agent::run_exec_rank(command);
  }
  if (const auto command = command_after("exec-on", argc, argv); !command.empty()) {
    return tunefleet::agent::run_exec_on(command);
  }
  tunefleet::log::configure("agent");
  CLI::App app(
      "The node daemon of tunefleet: offers this machine's slots to a coordinator and runs ranks.",
      "tunefleet-agent");
  app.require_subcommand(1);

  tunefleet::agent::AgentOptions options;
  options.launch.host = host_name();
  auto* run =
      app.add_subcommand("run", "Connect to a coordinator and run what it sends, until SIGTERM");
  run->add_option("--coordinator", options.launch.coordinator,
                  "Where the coordinator listens: tcp://host:port (`tunefleet up` prints it); "
                  "several that stand by for each other, with commas")
      ->required();
  run->add_option("--curve", options.launch.curve_file,
                  "This node's keys, mode 0600: keys/node.json of the coordinator's data directory")
      ->required();
  run->add_option("--slots", options.slots, "Ranks that may run here at the same time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  run->add_flag("--cuda", options.cuda, "Each slot is a GPU");
  run->add_option("--host", options.launch.host, "Unique name of this node")->capture_default_str();
  run->add_option("--trainer", options.launch.trainer_program,
                  "Program a rank runs (default: tunefleet-trainer beside this program)");
  run->add_option("--mpirun", options.launch.mpirun, "Open MPI's launcher")->capture_default_str();

  auto* exec = app.add_subcommand(
      "exec-rank", "Used by mpirun: exec-rank -- COMMAND… runs one rank and notes how it ended");
  auto* exec_on = app.add_subcommand(
      "exec-on", "Used by mpirun: exec-on HOST COMMAND… runs a gang's part by another agent");
  CLI11_PARSE(app, argc, argv);
  if (exec->parsed() || exec_on->parsed()) {
    fmt::print(stderr, "error: write exec-rank -- COMMAND…, or exec-on HOST COMMAND…\n");
    return kExitUsage;
  }
  try {
    return run_agent(options);
  } catch (const std::exception& error) {
    tunefleet::log::error(fmt::format("the agent ends: {}", error.what()));
    return kExitFailed;
  }
}
