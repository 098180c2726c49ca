#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tunefleet::coordinator {

/// `prefix` and `length` random letters and digits from the system's generator: "ftjob-aZ3…".
std::string random_id(std::string_view prefix, size_t length = 24);
/// `bytes` random bytes as base64url without padding.
std::string random_base64url(size_t bytes);
/// True for `prefix` and then letters and digits only, at most 64 of them: safe as a path
/// component.
bool is_id(std::string_view text, std::string_view prefix);

}  // namespace tunefleet::coordinator
