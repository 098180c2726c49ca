#include "coordinator/sweep/sweep_plan.h"

namespace tunefleet::coordinator {

using nlohmann::json;

std::vector<int64_t> SweepPlan::rungs() const {
  std::vector<int64_t> steps;
  if (!halving) return steps;
  for (int64_t step = halving->min_steps; step < halving->max_steps; step *= halving->eta) {
    steps.push_back(step);
    if (step > halving->max_steps / halving->eta) break;  // The next product may not fit.
  }
  return steps;
}

json to_json(const SweepPlan& plan) {
  json halving;
  if (plan.halving) {
    halving = {{"eta", plan.halving->eta},
               {"min_steps", plan.halving->min_steps},
               {"max_steps", plan.halving->max_steps}};
  }
  return {{"metric", plan.metric}, {"halving", halving}, {"max_parallel", plan.max_parallel}};
}

Result<SweepPlan> sweep_plan_from_json(const json& value) {
  try {
    SweepPlan plan{.metric = value.at("metric").get<std::string>(),
                   .max_parallel = value.at("max_parallel").get<int64_t>()};
    if (const json& halving = value.at("halving"); !halving.is_null()) {
      plan.halving = Halving{.eta = halving.at("eta").get<int64_t>(),
                             .min_steps = halving.at("min_steps").get<int64_t>(),
                             .max_steps = halving.at("max_steps").get<int64_t>()};
    }
    return plan;
  } catch (const json::exception& error) {
    return fail(ErrorCode::kDataLoss,
                std::string("a stored sweep's plan cannot be read: ") + error.what());
  }
}

}  // namespace tunefleet::coordinator
