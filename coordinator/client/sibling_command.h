#pragma once

#include <filesystem>
#include <string_view>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// The program of that name beside our own executable (build/<preset>/bin). kNotFound when it is
/// not there.
Result<std::filesystem::path> sibling_program(std::string_view name);

/// `tunefleet agent …`: becomes `tunefleet-agent run`.
int run_agent(int argc, char** argv);
/// `tunefleet generate …`: becomes `tunefleet-trainer generate`.
int run_generate(int argc, char** argv);
/// `tunefleet merge …`, `tunefleet export …` and `tunefleet adapters combine …`, likewise.
int run_merge(int argc, char** argv);
int run_export(int argc, char** argv);
int run_combine(int argc, char** argv);

}  // namespace tunefleet::coordinator
