#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tunefleet::data {

/// Byte-level vocabularies spell each byte as a printable character: the printable Latin-1 bytes as
/// themselves, the other 68 as U+0100 and on, in order (so a space is U+0120, "Ġ").
/// Source: bytes_to_unicode() of GPT-2's encoder.
std::string spell_bytes(std::string_view bytes);

/// The bytes that a spelling stands for; nothing when a character of it is not of that alphabet.
std::optional<std::string> unspell_bytes(std::string_view spelling);

}  // namespace tunefleet::data
