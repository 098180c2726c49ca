#include "worker/trainer/run_plan.h"

#include <cmath>

namespace tunefleet::trainer {
namespace {

int64_t interval(const std::string& strategy, int64_t steps, int64_t steps_per_epoch) {
  if (strategy == "steps") return steps;
  return strategy == "epoch" ? steps_per_epoch : 0;
}

}  // namespace

RunPlan make_run_plan(const JobSpec& spec, int64_t rows, int64_t world_size) {
  RunPlan plan;
  static_cast<StepCount&>(plan) = count_steps(spec, rows, world_size);
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
