#include "proto/step_count.h"

#include <algorithm>
#include <cmath>

namespace tunefleet {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

StepCount count_steps(const JobSpec& spec, int64_t rows, int64_t world_size) {
  StepCount count;
  count.micro_batch = spec.per_device_train_batch_size;
  // An elastic job's step has the rows that its largest gang would take, however many ranks there
  // are.
  const bool elastic = spec.workers.min < spec.workers.max;
  const int64_t per_pass = count.micro_batch * (elastic ? spec.workers.max : world_size);
  const int64_t usual =
      spec.galore_optim_per_parameter ? 1 : std::max<int64_t>(1, ceil_div(16, per_pass));
  count.accumulation = spec.gradient_accumulation_steps.value_or(usual);
  count.batch_total = per_pass * count.accumulation;
  count.accumulation = ceil_div(count.batch_total, count.micro_batch * world_size);
  count.steps_per_epoch = std::max<int64_t>(1, ceil_div(rows, count.batch_total));
  const auto by_epochs =
      std::ceil(spec.num_train_epochs * static_cast<double>(count.steps_per_epoch) - 1e-9);
  count.max_steps =
      spec.max_steps > 0 ? spec.max_steps : std::max<int64_t>(1, static_cast<int64_t>(by_epochs));
  return count;
}

int64_t held_out_rows(int64_t rows, double split_dataset_ratio) {
  if (split_dataset_ratio == 0.0 || rows < 2) return 0;
  const auto wanted =
      static_cast<int64_t>(std::floor(static_cast<double>(rows) * split_dataset_ratio));
  return std::clamp<int64_t>(wanted, 1, rows - 1);
}

}  // namespace tunefleet
