#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "proto/result.h"

namespace tunefleet::agent {

/// How one rank's process ended: `exit/<rank>.json`, written by exec-rank.
struct ExitReport {
  int rank = 0;
  std::string host{};
  int64_t pid = 0;    ///< The command's process, not exec-rank's.
  int exit_code = 0;  ///< When signal is 0.
  int signal = 0;     ///< The signal that killed it; 0: it exited.
  int64_t terminated_at_ms =
      0;                    ///< When SIGTERM was passed on to it; 0: it was not. Unix milliseconds.
  int64_t ended_at_ms = 0;  ///< Unix milliseconds.

  bool failed() const { return exit_code != 0 || signal != 0; }
};

/// What the rank itself said: `exit/<rank>.error.json`, {code, message}.
struct RankError {
  std::string code{};  ///< error_code_name()
  std::string message{};
};

/// All that is known about a gang's ranks once they are gone.
struct RankFiles {
  std::map<int, ExitReport> exits{};
  std::map<int, RankError> errors{};
  std::map<int, int64_t> exec_pids{};  ///< rank -> process of exec-rank, from exit/<rank>.pid.
};

/// Writes exit/<rank>.json, whole or not at all.
Status write_exit_report(const std::filesystem::path& exit_directory, const ExitReport& report);
Status write_rank_error(const std::filesystem::path& exit_directory, int rank,
                        const RankError& error);
Status write_exec_pid(const std::filesystem::path& exit_directory, int rank, int64_t pid);

/// Reads whatever stands in the directory now. Files that cannot be understood count as absent.
RankFiles read_rank_files(const std::filesystem::path& exit_directory);

/// `<run>/gang.json`: the agent's note about the newest attempt it started, so that a restarted
/// agent neither runs an attempt twice nor forgets how it ended.
struct GangNote {
  int64_t attempt = 0;
  std::string host{};
  std::optional<nlohmann::json> ended{};  ///< GangEnded's fields, once it has.
};
Status write_gang_note(const std::filesystem::path& run_directory, const GangNote& note);
std::optional<GangNote> read_gang_note(const std::filesystem::path& run_directory);

/// Replaces a file: written aside, then renamed.
Status replace_file(const std::filesystem::path& path, const std::string& text);
/// The whole file, or "" when it cannot be read.
std::string file_text(const std::filesystem::path& path);
/// The last `lines` lines that are not empty, as valid UTF-8, at most 2000 bytes.
std::string last_lines(const std::filesystem::path& path, size_t lines);
/// `text` with every byte that is not UTF-8 replaced by '?': what the wire's strings may hold.
std::string valid_utf8(const std::string& text);

}  // namespace tunefleet::agent
