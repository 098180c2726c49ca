#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "coordinator/client/command.h"
#include "proto/log.h"

namespace {

using tunefleet::coordinator::Command;
using tunefleet::coordinator::commands;

void print_help(std::FILE* out) {
  fmt::print(out, "tunefleet fine-tunes models on a fleet of machines\n\n");
  fmt::print(out, "Usage: tunefleet COMMAND [OPTIONS]\n\nCommands:\n");
  for (const Command& command : commands()) {
    fmt::print(out, "  {:<13}{}\n", command.name, command.summary);
  }
  fmt::print(
      out, "\n`tunefleet COMMAND --help` tells a command's options. Start with `tunefleet up`.\n");
}

int run_command(const Command& command, int argc, char** argv) {
  std::string program = fmt::format("tunefleet {}", command.name);
  std::vector<char*> arguments{program.data()};
  arguments.insert(arguments.end(), argv + 2, argv + argc);
  arguments.push_back(nullptr);
  return command.run(argc - 1, arguments.data());
}

}  // namespace

int main(int argc, char** argv) {
  tunefleet::log::configure("tunefleet");
  const std::string word = argc > 1 ? argv[1] : "";
  if (word == "--help" || word == "-h" || word == "help") {
    print_help(stdout);
    return tunefleet::coordinator::kExitOk;
  }
  if (word == "--version") {
    fmt::print("tunefleet {}\n", TUNEFLEET_VERSION);
    return tunefleet::coordinator::kExitOk;
  }
  const auto& table = commands();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const Command& command) { return command.name == word; });
  if (found != table.end()) return run_command(*found, argc, argv);
  if (!word.empty()) fmt::print(stderr, "error: no such command: {}\n\n", word);
  print_help(stderr);
  return tunefleet::coordinator::kExitUsage;
}
