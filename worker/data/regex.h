#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace tunefleet::data {

/// A part of a text: [begin, end) in bytes.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;

  bool operator==(const TextRange&) const = default;
};

/// A regular expression as tokenizer.json files spell them (Oniguruma, Ruby syntax), run by PCRE2's
/// just-in-time compiler. Character classes mean what they mean there: `\s` is White_Space, `\p{…}`
/// knows Unicode 16. Safe to use from several threads.
class Regex {
 public:
  /// kInvalidArgument: the pattern is malformed, or uses what the two dialects read differently
  /// (nested classes, `&&`, \W, \h, \R, \X, \K).
  static Result<Regex> compile(std::string_view pattern);

  /// Matches exactly this text.
  static Result<Regex> literal(std::string_view text);

  /// The first match that begins at or after `from`; `text` must be valid UTF-8, `from` a boundary.
  /// kResourceExhausted: the match needs more steps or stack than allowed.
  Result<std::optional<TextRange>> find(std::string_view text, size_t from) const;

 private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

  std::shared_ptr<const Code> code_;
};

/// Rewrites a pattern of Oniguruma's for PCRE2; errors as Regex::compile().
Result<std::string> translate_pattern(std::string_view pattern);

}  // namespace tunefleet::data
