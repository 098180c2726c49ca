// The part of Trainer that writes metrics down.

#include <algorithm>
#include <cstdio>

#include "proto/log.h"
#include "worker/trainer/device.h"
#include "worker/trainer/trainer.h"

namespace tunefleet::trainer {
namespace {

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

double gib(int64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(int64_t{1} << 30);
}

}  // namespace

/// Sums the window over the ranks on rank 0 and writes a line; every rank starts a new window.
Status Trainer::log_window() {
  if (window_.steps == 0) return {};
  Sums mine{window_.loss, static_cast<double>(window_.tokens)};
  mine.insert(mine.end(), window_.sums.begin(), window_.sums.end());
  const auto sums = parts_.group.sum_to_root(mine);
  const Window window = window_;
  window_ = {};
  window_.sums.resize(objective_->sum_count());
  progress_.train_loss_sum += sums[0];
  timed_seconds_ += window.seconds;
  total_tokens_ += sums[1];
  const double steps = static_cast<double>(window.steps);
  status_.loss = sums[0] / steps;
  status_.tokens_per_s = sums[1] / std::max(1e-9, window.seconds);
  report_status(status_.phase);
  if (parts_.group.rank() != 0) return {};
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  const auto at = std::to_string(progress_.step) + "/" + std::to_string(plan_.max_steps);
  nlohmann::ordered_json record{
      {"loss", rounded(status_.loss)},
      {"grad_norm", rounded(grad_norm_)},
      {"learning_rate", learning_rate_},
  };
  for (const auto& [name, value] : objective_->figures({sums.begin() + 2, sums.end()}))
    record[name] = rounded(value);
  record.update({
      {"epoch", rounded(plan_.epoch_at(progress_.step))},
      {"global_step/max_steps", at},
      {"elapsed_time", duration_text(elapsed)},
      {"remaining_time", duration_text(remaining_seconds())},
      {"memory(GiB)", rounded(gib(peak_resident_bytes()))},
      {"train_speed(s/it)", rounded(window.seconds / steps)},
      {"tokens_per_s", rounded(status_.tokens_per_s)},
      {"all_reduced_bytes",
       parts_.group.size() > 1 ? (sync_ ? sync_->bytes() : updates_->bytes()) : 0},
  });
  const auto text = "step " + at + "  loss " + number("%.4f", status_.loss) + "  lr " +
                    number("%.3g", learning_rate_) + "  " + number("%.0f", status_.tokens_per_s) +
                    " tokens/s  " + duration_text(remaining_seconds()) + " left";
  log::info(text);
  parts_.reporter.tell({"info", "metrics", text, record.dump()});
  return parts_.log.write(record);
}

Status Trainer::log_evaluation(const Evaluation& evaluation) {
  if (parts_.group.rank() != 0) return {};
  const auto at = std::to_string(progress_.step) + "/" + std::to_string(plan_.max_steps);
  nlohmann::ordered_json record{{"eval_loss", rounded(evaluation.loss)}};
  for (const auto& [name, value] : evaluation.figures) record["eval_" + name] = rounded(value);
  record["eval_" + std::string(objective_->unit())] = evaluation.count;
  record["epoch"] = rounded(plan_.epoch_at(progress_.step));
  record["global_step/max_steps"] = at;
  const auto text =
      "step " + at + "  held-out loss " + number("%.4f", evaluation.loss) + "  " + evaluation.words;
  log::info(text);
  parts_.reporter.tell({"info", "metrics", text, record.dump()});
  return parts_.log.write(record);
}

}  // namespace tunefleet::trainer
