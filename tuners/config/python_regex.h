#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

struct pcre2_real_code_8;

namespace tunefleet::tuners {

/// A regular expression as Python's `re` reads it, for the patterns in adapter files. Immutable,
/// shareable between threads. Backtracking is bounded: a pattern that runs away counts as an error,
/// not as a hang.
class PythonRegex {
 public:
  /// kInvalidArgument with the position where it stops making sense.
  static Result<PythonRegex> compile(std::string_view pattern);

  /// re.fullmatch: the whole text.
  Result<bool> fullmatch(std::string_view text) const;
  /// re.match: from the start, to anywhere. Groups of the match, "" where one did not take part;
  /// empty: no match.
  Result<std::vector<std::string>> match(std::string_view text) const;
  /// The number of the named group; 0 when there is none.
  int group(const std::string& name) const;

 private:
  explicit PythonRegex(std::shared_ptr<pcre2_real_code_8> code) : code_(std::move(code)) {}
  Result<std::vector<std::string>> run(std::string_view text, unsigned options) const;

  std::shared_ptr<pcre2_real_code_8> code_;
};

}  // namespace tunefleet::tuners
