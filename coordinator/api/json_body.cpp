#include "coordinator/api/json_body.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

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

/// Looks at the keys of a text's objects: of a repeated one nlohmann keeps the last, other readers
/// the first. The names of its functions are nlohmann's, for sax_parse. (The callback of
/// json::parse sees keys too, but costs the square of the number of lists and objects.)
class KeyCheck {
 public:
  bool null() { return true; }
  bool boolean(bool) { return true; }
  bool number_integer(json::number_integer_t) { return true; }
  bool number_unsigned(json::number_unsigned_t) { return true; }
  bool number_float(json::number_float_t, const json::string_t&) { return true; }
  bool string(json::string_t&) { return true; }
  bool binary(json::binary_t&) { return true; }
  bool start_array(size_t) { return true; }
  bool end_array() { return true; }
  bool start_object(size_t) {
    open_.emplace_back();
    return true;
  }
  bool end_object() {
    open_.pop_back();
    return true;
  }
  bool key(json::string_t& key) {
    if (!open_.back().insert(key).second) {
      problem_ = "the body's JSON has a key twice: " + key;
    } else if (open_.back().size() > kMaxJsonKeys) {
      problem_ = fmt::format("an object of the body has more than {} keys", kMaxJsonKeys);
    }
    return problem_.empty();
  }
  /// Text that is no JSON is told by who parses it.
  bool parse_error(size_t, const std::string&, const json::exception&) { return false; }

  const std::string& problem() const { return problem_; }

 private:
  std::vector<std::set<std::string>> open_;  ///< Keys of the objects that have begun.
  std::string problem_;
};

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
  KeyCheck keys;
  json::sax_parse(text, &keys);
  if (!keys.problem().empty()) return api_fail(bad_request(keys.problem()));
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

std::optional<int64_t> whole_number(const json& value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) return std::nullopt;
  if (value.is_number_integer()) return value.get<int64_t>();
  const double number = value.is_number_float() ? value.get<double>() : 0.5;
  if (!(std::abs(number) <= kExact) || std::trunc(number) != number) return std::nullopt;
  return static_cast<int64_t>(number);
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
