#include "coordinator/client/json_fields.h"

#include <cmath>

namespace tunefleet::coordinator {

using nlohmann::json;

json field_at(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found == object.end() ? json() : *found;
}

std::string text_at(const json& object, const char* key) {
  const json value = field_at(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::optional<double> number_at(const json& object, const char* key) {
  const json value = field_at(object, key);
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

std::optional<int64_t> whole_at(const json& object, const char* key) {
  const auto number = number_at(object, key);
  if (!number || std::abs(*number) > 9e18) return std::nullopt;
  return static_cast<int64_t>(*number);
}

bool flag_at(const json& object, const char* key) { return field_at(object, key) == json(true); }

json limits_json(const Limits& limits) {
  if (limits.text().empty()) return nullptr;
  json object{{"text", limits.text()}};
  if (!std::isinf(limits.min)) object[limits.above_min ? "above" : "min"] = limits.min;
  if (!std::isinf(limits.max)) object[limits.below_max ? "below" : "max"] = limits.max;
  return object;
}

std::string to_line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tunefleet::coordinator
