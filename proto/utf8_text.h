#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tunefleet {

/// Code points of UTF-8 text: what OpenAI's limits count. Of other bytes as many as would begin
/// one.
size_t characters_in(std::string_view text);

/// The first `count` code points; never a part of one.
std::string first_characters(std::string_view text, size_t count);

}  // namespace tunefleet
