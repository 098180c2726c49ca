#include "tuners/config/adapter_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace tunefleet::tuners {
namespace {

std::string text_at(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Result<AdapterKind> read_adapter_kind(std::string_view text, const std::string& file_name) {
  const auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("not a JSON object: {}", file_name));
  }
  AdapterKind kind{.peft_type = text_at(object, "peft_type"),
                   .swift_type = text_at(object, "swift_type")};
  if (kind.peft_type.empty() && kind.swift_type.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("names no tuner, peft_type or swift_type is missing: {}", file_name));
  }
  return kind;
}

}  // namespace tunefleet::tuners
