#include "worker/trainer/objective.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdio>

#include "worker/trainer/preference_objective.h"
#include "worker/trainer/supervised_objective.h"

namespace tunefleet::trainer {

std::unique_ptr<Objective> make_objective(const JobSpec& spec, const TrainingData& data,
                                          const models::Decoder& model, tuners::SwiftModel& swift) {
  if (!spec.rlhf_type) return std::make_unique<SupervisedObjective>(data, model);
  return std::make_unique<PreferenceObjective>(data, model, swift, preference_options_of_job(spec));
}

tuners::ForwardContext with_token_keys(tuners::ForwardContext context, const data::Batch& batch) {
  const auto keys = token_keys(batch);
  context.token_keys = at::empty({static_cast<int64_t>(keys.size())}, at::kLong);
  std::copy(keys.begin(), keys.end(), context.token_keys.mutable_data_ptr<int64_t>());
  return context;
}

std::string three_digits(double value) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.3f", value);
  return text;
}

}  // namespace tunefleet::trainer
