#include "worker/trainer/evaluation.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "worker/data/batch.h"
#include "worker/data/sampler.h"
#include "worker/trainer/training_data.h"

namespace tunefleet::trainer {

Evaluation evaluate(const models::Decoder& model, const data::EncodedDataset& examples,
                    int64_t batch, collective::Group& group,
                    const tuners::ForwardContext& context) {
  const at::NoGradGuard no_grad;
  kernels::CrossEntropySums sums;
  for (const auto& rows :
       data::evaluation_shard(examples.size(), group.rank(), group.size(), batch)) {
    if (!rows.empty())
      model.loss(token_batch(data::make_batch(examples, rows)), context, 1.0, &sums);
  }
  auto totals = group.sum_to_root(
      {sums.loss, static_cast<double>(sums.correct), static_cast<double>(sums.rows)});
  group.broadcast(totals);
  const double tokens = std::max(1.0, totals[2]);
  return {totals[0] / tokens, totals[1] / tokens, static_cast<int64_t>(totals[2])};
}

}  // namespace tunefleet::trainer
