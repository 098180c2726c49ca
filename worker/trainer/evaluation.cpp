#include "worker/trainer/evaluation.h"

#include "worker/data/sampler.h"

namespace tunefleet::trainer {

Evaluation evaluate(Objective& objective, int64_t rows, int64_t batch, collective::Group& group,
                    const tuners::ForwardContext& context) {
  auto parts = data::evaluation_shard(rows, group.rank(), group.size(), batch);
  std::erase_if(parts, [](const auto& part) { return part.empty(); });
  objective.begin_evaluation(parts, context);
  Sums sums(objective.sum_count());
  for (size_t part = 0; part < parts.size(); ++part) objective.measure(part, context, sums);
  auto totals = group.sum_to_root(sums);
  group.broadcast(totals);
  return {objective.mean_loss(totals), objective.figures(totals), objective.count(totals),
          objective.words(totals)};
}

}  // namespace tunefleet::trainer
