#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "proto/limits.h"

namespace tunefleet::coordinator {

/// Reading what a service answered, which may be newer or older than this program: a field that is
/// absent, null or of another type is simply not there.
nlohmann::json field_at(const nlohmann::json& object, const char* key);
/// Empty when it is not there.
std::string text_at(const nlohmann::json& object, const char* key);
std::optional<double> number_at(const nlohmann::json& object, const char* key);
std::optional<int64_t> whole_at(const nlohmann::json& object, const char* key);
bool flag_at(const nlohmann::json& object, const char* key);

/// {"text", "min" or "above", "max" or "below"}; null when everything is allowed.
nlohmann::json limits_json(const Limits& limits);

/// One line of JSON, never throwing on text that is not UTF-8.
std::string to_line(const nlohmann::json& value);

}  // namespace tunefleet::coordinator
