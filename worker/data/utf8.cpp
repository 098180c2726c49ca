#include "worker/data/utf8.h"

#include <cstring>

namespace tunefleet::data {
namespace {

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/// What a lead byte asks for: the length of the character and the bounds of its second byte.
struct Lead {
  size_t bytes = 0;  ///< 0: no character begins so.
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {};
}

struct Prefix {
  size_t bytes = 0;  ///< How many bytes from the start belong to one character, valid so far.
  bool complete = false;
};

/// Reads as much of one character as is valid.
Prefix valid_prefix(std::string_view text) {
  const Lead lead = lead_of(static_cast<unsigned char>(text[0]));
  if (lead.bytes == 0) return {};
  size_t taken = 1;
  while (taken < lead.bytes && taken < text.size()) {
    const auto byte = static_cast<unsigned char>(text[taken]);
    const bool fits = taken == 1 ? lead.low <= byte && byte <= lead.high : is_continuation(byte);
    if (!fits) break;
    ++taken;
  }
  return {taken, taken == lead.bytes};
}

/// Skips eight ASCII bytes at a time.
size_t skip_ascii(std::string_view text, size_t at) {
  uint64_t word = 0;
  while (at + sizeof(word) <= text.size()) {
    std::memcpy(&word, text.data() + at, sizeof(word));
    if (word & 0x8080808080808080u) break;
    at += sizeof(word);
  }
  return at;
}

}  // namespace

CodePoint code_point_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const auto low_bits = [&](size_t i) { return static_cast<char32_t>(byte(i) & 0x3F); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {static_cast<char32_t>((first & 0x1F) << 6 | low_bits(1)), 2};
  if (first < 0xF0) {
    return {static_cast<char32_t>((first & 0x0F) << 12 | low_bits(1) << 6 | low_bits(2)), 3};
  }
  const auto high = static_cast<char32_t>(first & 0x07) << 18;
  return {high | low_bits(1) << 12 | low_bits(2) << 6 | low_bits(3), 4};
}

void append_code_point(char32_t value, std::string& text) {
  const auto tail = [&](int shift) {
    text.push_back(static_cast<char>(0x80 | ((value >> shift) & 0x3F)));
  };
  if (value < 0x80) {
    text.push_back(static_cast<char>(value));
  } else if (value < 0x800) {
    text.push_back(static_cast<char>(0xC0 | value >> 6));
    tail(0);
  } else if (value < 0x10000) {
    text.push_back(static_cast<char>(0xE0 | value >> 12));
    tail(6), tail(0);
  } else {
    text.push_back(static_cast<char>(0xF0 | value >> 18));
    tail(12), tail(6), tail(0);
  }
}

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  for (size_t at = skip_ascii(text, 0); at < text.size();) {
    const Prefix prefix = valid_prefix(text.substr(at));
    if (!prefix.complete) return at;
    at += prefix.bytes;
    if (prefix.bytes == 1) at = skip_ascii(text, at);
  }
  return std::nullopt;
}

size_t incomplete_utf8_suffix(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto last = text.substr(text.size() - back);
    if (is_continuation(static_cast<unsigned char>(last[0]))) continue;
    const Prefix prefix = valid_prefix(last);
    return !prefix.complete && prefix.bytes == back ? back : 0;
  }
  return 0;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Prefix prefix = valid_prefix(text.substr(at));
    if (prefix.complete) {
      valid.append(text, at, prefix.bytes);
    } else {
      valid += "\xEF\xBF\xBD";
    }
    at += prefix.bytes ? prefix.bytes : 1;
  }
  return valid;
}

}  // namespace tunefleet::data
