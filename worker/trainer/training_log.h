#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>

#include "proto/result.h"

namespace tunefleet::trainer {

/// logging.jsonl: one JSON object a line, keys as ms-swift writes them (`loss`, `grad_norm`,
/// `learning_rate`, `token_acc`, `global_step/max_steps`, `train_speed(s/it)`, …), ours beside
/// (`tokens_per_s`, `all_reduced_bytes`). Each line is on its way to the disk when write() returns.
class TrainingLog {
 public:
  /// Appends to `directory`/logging.jsonl, or does nothing with an empty path (ranks but the
  /// first).
  static Result<TrainingLog> open(const std::filesystem::path& directory);
  Status write(const nlohmann::ordered_json& record);

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

/// Rounded to eight digits behind the point, as ms-swift logs numbers.
double rounded(double value);
/// "1h 2m 3s".
std::string duration_text(double seconds);

}  // namespace tunefleet::trainer
