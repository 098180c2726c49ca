#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "proto/result.h"

namespace tunefleet::agent {

/// Where a gang's ends are told: `<run>/exit/<attempt>`. Of one attempt alone, so that a rank of an
/// older one, on a host that was out of reach, says nothing about a newer one.
std::filesystem::path exit_directory_of(const std::filesystem::path& run_directory,
                                        int64_t attempt);

/// How one rank's process ended: `<rank>.json`, written by exec-rank.
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

/// What the rank itself said: `<rank>.error.json`, {code, message}.
struct RankError {
  std::string code{};  ///< error_code_name()
  std::string message{};
};

/// The process that watches a rank: `<rank>.pid`, "<pid> <host>".
struct ExecRank {
  int64_t pid = 0;
  std::string host{};
};

/// What another agent says about its part of the gang: `<host>.part.json`, written by exec-on.
struct PartNote {
  bool ended = false;     ///< It has ended badly, or never started; else it wants the gang stopped.
  std::string message{};  ///< For people.
};

/// All that is known about a gang's ranks once they are gone.
struct RankFiles {
  std::map<int, ExitReport> exits{};
  std::map<int, RankError> errors{};
  std::map<int, ExecRank> exec_ranks{};
  std::map<std::string, PartNote> parts{};  ///< By host.
};

/// Each writes its file whole or not at all.
Status write_exit_report(const std::filesystem::path& exit_directory, const ExitReport& report);
Status write_rank_error(const std::filesystem::path& exit_directory, int rank,
                        const RankError& error);
Status write_exec_rank(const std::filesystem::path& exit_directory, int rank, const ExecRank& exec);
Status write_part_note(const std::filesystem::path& exit_directory, const std::string& host,
                       const PartNote& note);

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
/// What stands in it from byte `offset` on; "" likewise.
std::string text_from(const std::filesystem::path& path, uint64_t offset);
/// The last `lines` lines that are not empty, as valid UTF-8, at most 2000 bytes.
std::string last_lines(const std::filesystem::path& path, size_t lines);
/// `text` with every byte that is not UTF-8 replaced by '?': what the wire's strings may hold.
std::string valid_utf8(const std::string& text);

}  // namespace tunefleet::agent
