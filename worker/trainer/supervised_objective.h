#pragma once

#include "worker/trainer/objective.h"

namespace tunefleet::trainer {

/// Supervised fine-tuning: the mean cross-entropy of the labelled tokens.
class SupervisedObjective : public Objective {
 public:
  SupervisedObjective(const TrainingData& data, const models::Decoder& model)
      : data_(data), model_(model) {}

  size_t sum_count() const override { return 3; }
  void begin_step(const std::vector<int64_t>& rows, const Parts& parts,
                  const tuners::ForwardContext& context) override;
  Part loss(size_t index, const tuners::ForwardContext& context, const at::Tensor& anchor,
            Sums& sums) override;
  void begin_evaluation(const Parts& parts, const tuners::ForwardContext& context) override;
  void measure(size_t index, const tuners::ForwardContext& context, Sums& sums) override;
  double mean_loss(const Sums& sums) const override;
  Figures figures(const Sums& sums) const override;
  std::string_view unit() const override { return "tokens"; }
  int64_t count(const Sums& sums) const override;
  std::string words(const Sums& sums) const override;

 private:
  const TrainingData& data_;
  const models::Decoder& model_;
  Parts parts_;
  Parts evaluated_;
  double scale_ = 0.0;  ///< 1 / labelled tokens of the step.
};

}  // namespace tunefleet::trainer
