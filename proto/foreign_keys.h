#pragma once

#include <optional>
#include <string_view>

namespace tunefleet {

/// What to tell someone who wrote a key that ms-swift, transformers or PEFT know and a job file
/// does not: that it is not supported, or under which name it goes here, and what to do instead.
/// Nothing for a key of nobody.
std::optional<std::string_view> foreign_key_advice(std::string_view key);

}  // namespace tunefleet
