#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tunefleet::data {

/// One Unicode character and how many bytes it takes.
struct CodePoint {
  char32_t value = 0;
  size_t bytes = 0;
};

/// The character that begins at `at`. The text must be valid UTF-8 and `at` a boundary inside it.
CodePoint code_point_at(std::string_view text, size_t at);

/// Appends `value` to `text` as UTF-8.
void append_code_point(char32_t value, std::string& text);

/// Offset of the first byte that begins no valid character; nothing when the whole text is valid
/// UTF-8. Surrogates, overlong forms and values past U+10FFFF are invalid.
std::optional<size_t> first_invalid_utf8(std::string_view text);

/// How many bytes at the end may still become a valid character when more bytes follow: 0 to 3.
size_t incomplete_utf8_suffix(std::string_view text);

/// The text with each maximal invalid part replaced by U+FFFD, as Unicode (ch. 3.9) recommends.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace tunefleet::data
