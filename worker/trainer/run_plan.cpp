#include "worker/trainer/run_plan.h"

#include <algorithm>
#include <cmath>

namespace tunefleet::trainer {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t interval(const std::string& strategy, int64_t steps, int64_t steps_per_epoch) {
  if (strategy == "steps") return steps;
  return strategy == "epoch" ? steps_per_epoch : 0;
}

}  // namespace

RunPlan make_run_plan(const JobSpec& spec, int64_t rows, int64_t world_size) {
  RunPlan plan;
  plan.micro_batch = spec.per_device_train_batch_size;
  // An elastic job's step has the rows that its largest gang would take, however many ranks there are.
  const bool elastic = spec.workers.min < spec.workers.max;
  const int64_t per_pass = plan.micro_batch * (elastic ? spec.workers.max : world_size);
  const int64_t usual =
      spec.galore_optim_per_parameter ? 1 : std::max<int64_t>(1, ceil_div(16, per_pass));
  plan.accumulation = spec.gradient_accumulation_steps.value_or(usual);
  plan.batch_total = per_pass * plan.accumulation;
  plan.accumulation = ceil_div(plan.batch_total, plan.micro_batch * world_size);
  plan.steps_per_epoch = std::max<int64_t>(1, ceil_div(rows, plan.batch_total));
  const auto by_epochs =
      std::ceil(spec.num_train_epochs * static_cast<double>(plan.steps_per_epoch) - 1e-9);
  plan.max_steps =
      spec.max_steps > 0 ? spec.max_steps : std::max<int64_t>(1, static_cast<int64_t>(by_epochs));
  plan.save_every = interval(spec.save_strategy, spec.save_steps, plan.steps_per_epoch);
  plan.evaluate_every = interval(spec.eval_strategy.value_or(spec.save_strategy),
                                 spec.eval_steps.value_or(spec.save_steps), plan.steps_per_epoch);
  const double warmup = spec.warmup_steps > 0
                            ? static_cast<double>(spec.warmup_steps)
                            : std::ceil(spec.warmup_ratio * static_cast<double>(plan.max_steps));
  plan.schedule = {spec.lr_scheduler_type, spec.learning_rate, warmup,
                   static_cast<double>(plan.max_steps)};
  return plan;
}

}  // namespace tunefleet::trainer
