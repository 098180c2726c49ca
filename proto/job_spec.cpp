#include "proto/job_spec.h"

#include <charconv>
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

/// A fixed number as a number.
nlohmann::json json_of(const WorkerRange& range) {
  if (range.min == range.max) return range.min;
  return range_text(range);
}

nlohmann::json json_of(const std::map<std::string, std::string>& texts) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [name, text] : texts) object[name] = nlohmann::json::parse(text);
  return object;
}

}  // namespace

std::string range_text(const WorkerRange& range) {
  return range.min == range.max ? std::to_string(range.min)
                                : std::to_string(range.min) + ".." + std::to_string(range.max);
}

std::optional<WorkerRange> worker_range_of(const nlohmann::json& value) {
  if (value.is_number_integer()) return WorkerRange{value.get<int64_t>(), value.get<int64_t>()};
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  WorkerRange range;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.min);
  if (first.ec != std::errc()) return std::nullopt;
  if (first.ptr == end) return WorkerRange{range.min, range.min};
  if (end - first.ptr < 3 || first.ptr[0] != '.' || first.ptr[1] != '.') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 2, end, range.max);
  if (second.ec != std::errc() || second.ptr != end) return std::nullopt;
  return range;
}

nlohmann::json to_json(const JobSpec& spec) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& field : job_fields()) {
    object[std::string(field.key)] =
        std::visit([&](auto member) { return json_of(spec.*member); }, field.member);
  }
  return object;
}

}  // namespace tunefleet
