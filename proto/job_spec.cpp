#include "proto/job_spec.h"

#include <nlohmann/json.hpp>

#include "proto/job_fields.h"

namespace tunefleet {
namespace {

template <typename T>
nlohmann::json json_of(const T& value) {
  return value;
}

template <typename T>
nlohmann::json json_of(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

nlohmann::json json_of(const std::map<std::string, std::string>& texts) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [name, text] : texts) object[name] = nlohmann::json::parse(text);
  return object;
}

}  // namespace

nlohmann::json to_json(const JobSpec& spec) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& field : job_fields()) {
    object[std::string(field.key)] =
        std::visit([&](auto member) { return json_of(spec.*member); }, field.member);
  }
  return object;
}

}  // namespace tunefleet
