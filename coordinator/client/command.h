#pragma once

#include <string_view>
#include <vector>

namespace tunefleet::coordinator {

/// What a command's process exits with; scripts rely on these. Never renumber.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,  ///< It was tried and did not end well: the job failed, a child did not start.
  kExitUsage = 2,   ///< Wrong options or wrong input; the same call again gives the same.
  kExitCancelled = 3,      ///< The job was cancelled.
  kExitUnavailable = 4,    ///< The service does not answer or refuses the key.
  kExitInterrupted = 130,  ///< Ctrl-C, as shells report it.
};

/// The codes as every command's --help tells them.
inline constexpr std::string_view kExitCodeHelp =
    "Exit codes: 0 done, 1 failed, 2 wrong options or input, 3 the job was cancelled,\n"
    "            4 the service does not answer or refuses the key, 130 stopped by Ctrl-C.\n";

/// One word after `tunefleet`. Each command has a file pair of its own (submit_command.h declares
/// `int run_submit(int argc, char** argv)`) and one line in commands.cpp.
struct Command {
  std::string_view name;     ///< "submit"
  std::string_view summary;  ///< One line for `tunefleet --help`, without a full stop.
  /// Runs with argv[0] = "tunefleet <name>" and the command's own arguments after it. Returns an
  /// ExitCode; what went wrong has been printed to stderr then.
  int (*run)(int argc, char** argv);
};

/// Every command, in the order `tunefleet --help` shows them.
const std::vector<Command>& commands();

}  // namespace tunefleet::coordinator
