#include <fmt/format.h>

#include "worker/data/regex.h"
#include "worker/data/unicode_tables.h"

namespace tunefleet::data {
namespace {

/// White_Space, which \s means in Oniguruma; PCRE2's \s has U+180E besides.
constexpr std::string_view kSpaces =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

tl::unexpected<Error> refused(std::string_view what, std::string_view pattern) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("not supported in a regular expression: {}: {}", what, pattern));
}

std::string_view additions_to(std::string_view category) {
  for (const auto& entry : kUnicodeAdditions) {
    if (entry.category == category) return entry.ranges;
  }
  return {};
}

/// Walks over a pattern and rewrites the escapes whose meaning differs.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      Status status;
      if (c == '\\') {
        status = escape();
      } else if (in_class_) {
        status = class_character(c);
      } else {
        if (c == '[')
          open_class();
        else
          copy(1);
      }
      if (!status) return fail(status.error());
    }
    return std::move(out_);
  }

 private:
  void copy(size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void open_class() {
    in_class_ = true;
    copy(1);
    if (pattern_.substr(at_).starts_with('^')) copy(1);
    if (pattern_.substr(at_).starts_with(']')) copy(1);
  }

  Status class_character(char c) {
    const auto rest = pattern_.substr(at_);
    if (rest.starts_with("[:")) {
      const auto end = rest.find(":]");
      if (end == std::string_view::npos) return refused("[: without :]", pattern_);
      copy(end + 2);
      return {};
    }
    if (c == '[') return refused("a class inside a class", pattern_);
    if (rest.starts_with("&&")) return refused("&& in a class", pattern_);
    if (c == ']') in_class_ = false;
    copy(1);
    return {};
  }

  Status escape() {
    if (at_ + 1 >= pattern_.size()) return refused("\\ at the end", pattern_);
    switch (const char letter = pattern_[at_ + 1]) {
      case 's':
      case 'S':
        return spaces(letter == 'S');
      case 'p':
        return category();
      case 'w':
        return word_characters();
      case 'W':
      case 'h':
      case 'H':
      case 'R':
      case 'X':
      case 'K':
        return refused(fmt::format("\\{}", letter), pattern_);
      default:
        copy(2);
        return {};
    }
  }

  Status spaces(bool negated) {
    at_ += 2;
    if (!in_class_) {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", kSpaces);
    } else if (negated) {
      out_ += "\\S";  // differs for U+180E alone
    } else {
      out_ += kSpaces;
    }
    return {};
  }

  /// \w: letters, marks, decimal and letter numbers, connectors; PCRE2's has no marks but all
  /// numbers.
  Status word_characters() {
    at_ += 2;
    if (!in_class_) out_ += '[';
    for (const auto* category : {"L", "M", "Nd", "Nl", "Pc"}) {
      out_ += fmt::format("\\p{{{}}}{}", category, additions_to(category));
    }
    if (!in_class_) out_ += ']';
    return {};
  }

  /// \p{X} -> \p{X} and the characters that PCRE2 does not know to be X.
  Status category() {
    const auto rest = pattern_.substr(at_);
    const auto end = rest.find('}');
    if (!rest.starts_with("\\p{") || end == std::string_view::npos) {
      return refused("\\p without {…}", pattern_);
    }
    const auto added = additions_to(rest.substr(3, end - 3));
    if (added.empty()) {
      copy(end + 1);
      return {};
    }
    if (!in_class_) out_ += '[';
    copy(end + 1);
    out_ += added;
    if (!in_class_) out_ += ']';
    return {};
  }

  std::string_view pattern_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

Result<std::string> translate_pattern(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace tunefleet::data
