#include "worker/trainer/supervised_objective.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace tunefleet::trainer {
namespace {

enum Sum : size_t { kLoss, kCorrect, kLabelled };

void add(const kernels::CrossEntropySums& from, Sums& sums) {
  sums[kLoss] += from.loss;
  sums[kCorrect] += static_cast<double>(from.correct);
  sums[kLabelled] += static_cast<double>(from.rows);
}

double per_token(const Sums& sums, Sum what) { return sums[what] / std::max(1.0, sums[kLabelled]); }

}  // namespace

void SupervisedObjective::begin_step(const std::vector<int64_t>& rows, const Parts& parts,
                                     const tuners::ForwardContext& /*context*/) {
  parts_ = parts;
  scale_ = 1.0 / static_cast<double>(std::max<int64_t>(1, data_.labelled_tokens(rows)));
}

Objective::Part SupervisedObjective::loss(size_t index, const tuners::ForwardContext& context,
                                          const at::Tensor& anchor, Sums& sums) {
  const auto batch = data_.batch(parts_.at(index));
  kernels::CrossEntropySums own;
  Part part;
  part.loss =
      model_.loss(token_batch(batch), with_token_keys(context, batch), scale_, &own, anchor);
  part.value = own.loss * scale_;
  part.tokens = static_cast<int64_t>(batch.input_ids.size());
  add(own, sums);
  return part;
}

void SupervisedObjective::begin_evaluation(const Parts& parts,
                                           const tuners::ForwardContext& /*context*/) {
  evaluated_ = parts;
}

void SupervisedObjective::measure(size_t index, const tuners::ForwardContext& context, Sums& sums) {
  const at::NoGradGuard no_grad;
  kernels::CrossEntropySums own;
  model_.loss(token_batch(data_.eval_batch(evaluated_.at(index))), context, 1.0, &own);
  add(own, sums);
}

double SupervisedObjective::mean_loss(const Sums& sums) const { return per_token(sums, kLoss); }

Figures SupervisedObjective::figures(const Sums& sums) const {
  return {{"token_acc", per_token(sums, kCorrect)}};
}

int64_t SupervisedObjective::count(const Sums& sums) const {
  return static_cast<int64_t>(sums[kLabelled]);
}

std::string SupervisedObjective::words(const Sums& sums) const {
  return "token accuracy " + three_digits(per_token(sums, kCorrect));
}

}  // namespace tunefleet::trainer
