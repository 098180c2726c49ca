#include "worker/trainer/training_log.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace tunefleet::trainer {

Result<TrainingLog> TrainingLog::open(const std::filesystem::path& directory) {
  TrainingLog log;
  if (directory.empty()) return log;
  log.path_ = directory / "logging.jsonl";
  log.out_.open(log.path_, std::ios::app);
  if (!log.out_)
    return fail(ErrorCode::kPermissionDenied, fmt::format("cannot write: {}", log.path_.string()));
  return log;
}

Status TrainingLog::write(const nlohmann::ordered_json& record) {
  if (path_.empty()) return {};
  out_ << record.dump() << '\n' << std::flush;
  if (!out_)
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("cannot append, is the disk full? {}", path_.string()));
  return {};
}

double rounded(double value) {
  return std::isfinite(value) ? std::round(value * 1e8) / 1e8 : value;
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::max(0.0, std::round(seconds)));
  if (whole >= 3600) return fmt::format("{}h {}m {}s", whole / 3600, whole / 60 % 60, whole % 60);
  if (whole >= 60) return fmt::format("{}m {}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

}  // namespace tunefleet::trainer
