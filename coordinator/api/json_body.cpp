#include "coordinator/api/json_body.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

/// Counts brackets outside strings, before a parser builds anything.
bool is_too_deep(const std::string& text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if ((c == '{' || c == '[') && ++depth > kMaxJsonDepth) return true;
    if (c == '}' || c == ']') --depth;
  }
  return false;
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

/// A NUL in a name ends it early for everything that is written in C behind us.
bool has_nul(const json& value) {
  if (value.is_string()) return has_nul(value.get_ref<const std::string&>());
  if (!value.is_structured()) return false;
  for (const auto& [key, item] : value.items()) {
    if (has_nul(key) || has_nul(item)) return true;
  }
  return false;
}

}  // namespace

ApiResult<std::string> read_text_body(HttpRequest& request) {
  std::string text;
  const auto read = request.read_body(kMaxJsonBytes, [&](std::string_view piece) {
    text += piece;
    return true;
  });
  if (!read) {
    ApiError error = to_api_error(read.error());
    if (read.error().code == ErrorCode::kTimeout) error.status = 408;
    return api_fail(std::move(error));
  }
  return text;
}

ApiResult<json> parse_json_object(const std::string& text) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return json::object();
  if (is_too_deep(text)) {
    return api_fail(bad_request(
        fmt::format("the body's JSON is nested too deeply, at most {} levels", kMaxJsonDepth)));
  }
  try {
    json body = json::parse(text);
    if (has_nul(body)) return api_fail(bad_request("the body's texts may not hold a NUL"));
    if (body.is_object()) return body;
    return api_fail(bad_request(
        fmt::format("the body must be a JSON object, it is of type {}", body.type_name())));
  } catch (const json::exception& error) {
    return api_fail(bad_request(fmt::format("the body is not JSON: {}", error.what())));
  }
}

ApiResult<json> read_json_object(HttpRequest& request) {
  const auto text = read_text_body(request);
  if (!text) return api_fail(text.error());
  return parse_json_object(*text);
}

std::string to_text(const json& body) {
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

HttpReply json_reply(const json& body) {
  HttpReply reply;
  reply.body = to_text(body);
  return reply;
}

ApiResult<int64_t> query_number(const HttpRequest& request, const std::string& name,
                                int64_t fallback, int64_t low, int64_t high) {
  const auto text = request.query_value(name);
  if (!text) return fallback;
  int64_t number = 0;
  const char* end = text->data() + text->size();
  const auto [stop, failure] = std::from_chars(text->data(), end, number);
  if (failure != std::errc() || stop != end || number < low || number > high) {
    return api_fail(bad_request(
        fmt::format("{} must be a whole number from {} to {}: {}", name, low, high, *text), name));
  }
  return number;
}

}  // namespace tunefleet::coordinator
