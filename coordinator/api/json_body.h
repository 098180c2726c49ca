#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "coordinator/api/api_error.h"
#include "coordinator/api/http.h"

namespace tunefleet::coordinator {

inline constexpr uint64_t kMaxJsonBytes = 1 << 20;
inline constexpr int kMaxJsonDepth = 32;
inline constexpr size_t kMaxJsonKeys = 1000;  ///< Of one object.

/// The whole body as text, at most kMaxJsonBytes.
ApiResult<std::string> read_text_body(HttpRequest& request);
/// A JSON object out of text from a stranger; empty text is {}. 400 for anything else, for bytes
/// that are not UTF-8, for a NUL in a text, for a key that stands twice in an object or one of more
/// than kMaxJsonKeys, and for nesting deeper than kMaxJsonDepth.
ApiResult<nlohmann::json> parse_json_object(const std::string& text);
/// Both at once.
ApiResult<nlohmann::json> read_json_object(HttpRequest& request);

/// `body` as a 200 reply; bytes that are not UTF-8 become U+FFFD.
HttpReply json_reply(const nlohmann::json& body);
std::string to_text(const nlohmann::json& body);

/// The value if it is a whole number of 64 bits, 3.0 too, as JSON Schema's "integer" has it.
std::optional<int64_t> whole_number(const nlohmann::json& value);

/// The query's `name` as a whole number within [low, high], or `fallback` when it is absent.
ApiResult<int64_t> query_number(const HttpRequest& request, const std::string& name,
                                int64_t fallback, int64_t low, int64_t high);

}  // namespace tunefleet::coordinator
