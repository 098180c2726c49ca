#pragma once

#include <string>
#include <string_view>

/// Logging for every room. Takes text only, so that files which include torch (whose own fmt hides
/// Debian's) can log too; build the text with c10::str there and with fmt::format elsewhere.
namespace tunefleet::log {

enum class Level { kDebug, kInfo, kWarning, kError };

/// Sets what is printed and the name in front of each line ("coordinator", "rank 1"). Lines go to
/// stderr: `2026-01-31T12:00:00.000 coordinator info text`. TUNEFLEET_LOG=debug|info|warning|error
/// in the environment wins over `level`. Call once, early in main.
void configure(std::string name, Level level = Level::kInfo);

void debug(std::string_view text);
void info(std::string_view text);
void warning(std::string_view text);
void error(std::string_view text);

}  // namespace tunefleet::log
