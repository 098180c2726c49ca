#include "worker/trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace tunefleet::trainer {

double Schedule::at(double step) const {
  if (step < warmup_steps) return learning_rate * step / std::max(1.0, warmup_steps);
  const double progress =
      std::clamp((step - warmup_steps) / std::max(1.0, total_steps - warmup_steps), 0.0, 1.0);
  if (type == "constant") return learning_rate;
  if (type == "linear") return learning_rate * (1.0 - progress);
  if (type == "cosine") return learning_rate * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  throw std::invalid_argument("unknown lr_scheduler_type: " + type);
}

}  // namespace tunefleet::trainer
