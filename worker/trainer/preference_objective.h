#pragma once

#include <vector>

#include "worker/trainer/objective.h"
#include "worker/trainer/preference_loss.h"

namespace tunefleet::trainer {

/// Direct preference optimisation: the mean loss of pairs of answers (preference_loss.h), and
/// rpo_alpha times the mean cross-entropy of the chosen answers' tokens (Pang et al. 2024,
/// arXiv:2404.19733; over all tokens of the step, as TRL takes it over those of a batch). Both
/// means are over the whole step, whatever rank or micro-batch its pairs are in.
///
/// The reference is the same model with all adapters off, in evaluation and without gradients, so
/// it costs a forward pass and no second copy of weights. The adapters go off and on once in a step
/// and once in all evaluations, on every rank alike, since each change moves the version of the
/// trainable set, which ranks compare.
class PreferenceObjective : public Objective {
 public:
  /// Borrows all but the options. Throws std::invalid_argument when the data is not of pairs.
  PreferenceObjective(const TrainingData& data, const models::Decoder& model,
                      tuners::SwiftModel& swift, PreferenceOptions options);

  size_t sum_count() const override;
  void begin_step(const std::vector<int64_t>& rows, const Parts& parts,
                  const tuners::ForwardContext& context) override;
  Part loss(size_t index, const tuners::ForwardContext& context, const at::Tensor& anchor,
            Sums& sums) override;
  void begin_evaluation(const Parts& parts, const tuners::ForwardContext& context) override;
  void measure(size_t index, const tuners::ForwardContext& context, Sums& sums) override;
  double mean_loss(const Sums& sums) const override;
  /// rewards/chosen, rewards/rejected, rewards/accuracies, rewards/margins, logps/chosen,
  /// logps/rejected and, with rpo_alpha, nll_loss, as TRL's DPOTrainer logs them.
  Figures figures(const Sums& sums) const override;
  std::string_view unit() const override { return "pairs"; }
  int64_t count(const Sums& sums) const override;
  std::string words(const Sums& sums) const override;

 private:
  /// The answers of a batch of pairs.
  struct Answers {
    AnswerLogps logps;      ///< As the loss takes them.
    at::Tensor chosen_nll;  ///< Summed loss of all chosen tokens, float64.
    int64_t chosen_tokens = 0;
  };
  /// What the two means of a step are divided by.
  struct Divisors {
    double pairs = 1.0;
    double chosen_tokens = 1.0;
  };

  Answers answers(const data::Batch& batch, const tuners::ForwardContext& context,
                  const at::Tensor& anchor) const;
  std::vector<AnswerLogps> reference(const std::vector<data::Batch>& batches,
                                     const tuners::ForwardContext& context) const;
  /// The loss of answers, of a step by `divisors`; adds to `sums`.
  at::Tensor loss_of(const Answers& policy, const AnswerLogps& reference, const Divisors& divisors,
                     Sums& sums) const;

  const TrainingData& data_;
  const models::Decoder& model_;
  tuners::SwiftModel& swift_;
  PreferenceOptions options_;
  std::vector<data::Batch> batches_;     ///< Of this rank's parts of the step.
  std::vector<AnswerLogps> references_;  ///< Theirs.
  Divisors divisors_;
  bool evaluated_ = false;
  std::vector<data::Batch> eval_batches_;
  std::vector<AnswerLogps> eval_references_;  ///< The same in every evaluation.
};

PreferenceOptions preference_options_of_job(const JobSpec& spec);

}  // namespace tunefleet::trainer
