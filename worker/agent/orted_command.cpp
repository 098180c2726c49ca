#include "worker/agent/orted_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace tunefleet::agent {
namespace {

constexpr size_t kLongestCommand = 64 * 1024;
/// Characters a shell acts on: outside double quotes, and inside them.
constexpr std::string_view kActiveOutside = "$`\\'|&;<>()*?[]#~{}!\n\r";
constexpr std::string_view kActiveInside = "$`\\\n\r";
/// A node's own: set in orted's environment there.
constexpr std::array<std::string_view, 4> kLeftOut{"plm_rsh_agent", "orte_tmpdir_base",
                                                   "btl_vader_backing_directory",
                                                   "odls_base_sigkill_timeout"};

tl::unexpected<Error> refused(const std::string& why) {
  return fail(ErrorCode::kPermissionDenied, "not a command mpirun gives: " + why);
}

/// Words of a shell's command line in which nothing is to be expanded.
Result<std::vector<std::string>> words_of(const std::string& command) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  bool quoted = false;
  for (const char c : command) {
    if (c == '\0' || (quoted ? kActiveInside : kActiveOutside).find(c) != std::string_view::npos) {
      return refused(fmt::format("character {} in: {}", static_cast<int>(c), command));
    }
    if (c == '"') {
      quoted = !quoted;
      in_word = true;
    } else if (!quoted && (c == ' ' || c == '\t')) {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quoted) return refused("a quote is not closed in: " + command);
  if (in_word) words.push_back(word);
  return words;
}

}  // namespace

Result<std::vector<std::string>> orted_options(const std::string& command) {
  if (command.size() > kLongestCommand) {
    return refused(fmt::format("{} bytes, at most {}", command.size(), kLongestCommand));
  }
  const auto words = words_of(command);
  if (!words) return fail(words.error());
  if (words->empty() || words->front().substr(words->front().rfind('/') + 1) != "orted") {
    return refused("not orted: " + command);
  }
  if (words->size() % 3 != 1) return refused("options are -mca NAME VALUE: " + command);
  std::vector<std::string> options;
  for (size_t i = 1; i < words->size(); i += 3) {
    const std::string& option = (*words)[i];
    const std::string& name = (*words)[i + 1];
    if (option != "-mca" && option != "--mca") return refused("option " + option);
    if (std::ranges::find(kLeftOut, name) != kLeftOut.end()) continue;
    options.insert(options.end(), {option, name, (*words)[i + 2]});
  }
  return options;
}

}  // namespace tunefleet::agent
