#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tunefleet::data {

/// The system prompt that a ChatML-like Jinja text writes by itself: a string literal of it that
/// holds
/// "<|im_start|>system\n…<|im_end|>" in one piece. Nothing when it has none.
std::optional<std::string> chatml_default_system(std::string_view jinja);

/// Without white space at both ends, as Jinja's trim (Python's str.strip) does it.
std::string_view trim_white_space(std::string_view text);

}  // namespace tunefleet::data
