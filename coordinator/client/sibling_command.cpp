#include "coordinator/client/sibling_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "coordinator/client/command.h"

namespace tunefleet::coordinator {
namespace {

/// Replaces this process by `program` with `words` before the arguments after argv[0].
int become(std::string_view program, const std::vector<std::string>& words, int argc, char** argv) {
  const auto path = sibling_program(program);
  if (!path) {
    fmt::print(stderr, "error: {}\n", path.error().message);
    return kExitFailed;
  }
  std::vector<std::string> texts{path->string()};
  texts.insert(texts.end(), words.begin(), words.end());
  for (int i = 1; i < argc; ++i) texts.emplace_back(argv[i]);
  std::vector<char*> arguments;
  for (auto& text : texts) arguments.push_back(text.data());
  arguments.push_back(nullptr);
  ::execv(path->c_str(), arguments.data());
  fmt::print(stderr, "error: cannot run the program: {}: {}\n", path->string(),
             std::strerror(errno));
  return kExitFailed;
}

}  // namespace

Result<std::filesystem::path> sibling_program(std::string_view name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error)
    return fail(ErrorCode::kInternal, "cannot tell where this program lies: " + error.message());
  const auto path = self.parent_path() / name;
  if (!std::filesystem::exists(path, error)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("program missing beside tunefleet, build it (ninja {}): {}", name,
                            path.string()));
  }
  return path;
}

int run_agent(int argc, char** argv) { return become("tunefleet-agent", {"run"}, argc, argv); }

int run_generate(int argc, char** argv) {
  return become("tunefleet-trainer", {"generate"}, argc, argv);
}

int run_merge(int argc, char** argv) { return become("tunefleet-trainer", {"merge"}, argc, argv); }

int run_export(int argc, char** argv) {
  return become("tunefleet-trainer", {"export"}, argc, argv);
}

int run_combine(int argc, char** argv) {
  return become("tunefleet-trainer", {"combine"}, argc, argv);
}

}  // namespace tunefleet::coordinator
