#include "worker/trainer/preference_objective.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "proto/log.h"

namespace tunefleet::trainer {
namespace {

enum Sum : size_t {
  kLoss,
  kPairs,
  kChosenReward,
  kRejectedReward,
  kAccurate,
  kChosenLogp,
  kRejectedLogp,
  kChosenNll,
  kChosenTokens,
  kSums
};

/// All adapters off, for as long as this lives.
class AdaptersOff {
 public:
  explicit AdaptersOff(tuners::SwiftModel& swift)
      : swift_(swift), active_(swift.active_adapters()) {
    if (auto status = swift_.set_active_adapters({}); !status)
      throw std::invalid_argument("the reference: " + status.error().message);
  }
  ~AdaptersOff() {
    // What was active together before can be so again.
    if (auto status = swift_.set_active_adapters(active_); !status)
      log::error("after the reference: " + status.error().message);
  }
  AdaptersOff(const AdaptersOff&) = delete;
  AdaptersOff& operator=(const AdaptersOff&) = delete;

 private:
  tuners::SwiftModel& swift_;
  std::vector<std::string> active_;
};

double sum_of(const at::Tensor& values) { return values.sum().item<double>(); }

double per_pair(const Sums& sums, Sum what) { return sums[what] / std::max(1.0, sums[kPairs]); }

double margin(const Sums& sums) {
  return per_pair(sums, kChosenReward) - per_pair(sums, kRejectedReward);
}

double mean_nll(const Sums& sums) { return sums[kChosenNll] / std::max(1.0, sums[kChosenTokens]); }

}  // namespace

PreferenceOptions preference_options_of_job(const JobSpec& spec) {
  return {.loss_type = spec.loss_type,
          .beta = spec.beta,
          .label_smoothing = spec.label_smoothing,
          .rpo_alpha = spec.rpo_alpha.value_or(0.0)};
}

PreferenceObjective::PreferenceObjective(const TrainingData& data, const models::Decoder& model,
                                         tuners::SwiftModel& swift, PreferenceOptions options)
    : data_(data), model_(model), swift_(swift), options_(std::move(options)) {
  if (data_.examples_per_row != 2)
    throw std::invalid_argument("preferences are pairs: the data has " +
                                std::to_string(data_.examples_per_row) + " examples in a row");
}

size_t PreferenceObjective::sum_count() const { return kSums; }

PreferenceObjective::Answers PreferenceObjective::answers(const data::Batch& batch,
                                                          const tuners::ForwardContext& context,
                                                          const at::Tensor& anchor) const {
  const auto tokens =
      model_.token_losses(token_batch(batch), with_token_keys(context, batch), anchor);
  std::vector<at::Tensor> sums;
  for (const auto& sequence : tokens.losses.split_with_sizes(tokens.in_sequence))
    sums.push_back(sequence.sum(at::kDouble));
  const auto losses = at::stack(sums).cpu().view({-1, 2});
  const auto counts = at::tensor(tokens.in_sequence, at::kLong).view({-1, 2});
  const auto logps = options_.averages_tokens() ? -losses / counts : -losses;
  return {.logps = {.chosen = logps.select(1, 0), .rejected = logps.select(1, 1)},
          .chosen_nll = losses.select(1, 0).sum(),
          .chosen_tokens = counts.select(1, 0).sum().item<int64_t>()};
}

std::vector<AnswerLogps> PreferenceObjective::reference(
    const std::vector<data::Batch>& batches, const tuners::ForwardContext& context) const {
  const at::NoGradGuard no_grad;
  const AdaptersOff adapters_off(swift_);
  auto plain = context;
  plain.training = false;
  std::vector<AnswerLogps> logps;
  logps.reserve(batches.size());
  for (const auto& batch : batches) logps.push_back(answers(batch, plain, {}).logps);
  return logps;
}

at::Tensor PreferenceObjective::loss_of(const Answers& policy, const AnswerLogps& reference,
                                        const Divisors& divisors, Sums& sums) const {
  const auto loss = preference_loss(options_, policy.logps, reference).sum();
  const auto chosen = (policy.logps.chosen - reference.chosen).detach() * options_.beta;
  const auto rejected = (policy.logps.rejected - reference.rejected).detach() * options_.beta;
  sums[kLoss] += loss.item<double>();
  sums[kPairs] += static_cast<double>(chosen.numel());
  sums[kChosenReward] += sum_of(chosen);
  sums[kRejectedReward] += sum_of(rejected);
  sums[kAccurate] += sum_of(chosen.gt(rejected));
  sums[kChosenLogp] += sum_of(policy.logps.chosen);
  sums[kRejectedLogp] += sum_of(policy.logps.rejected);
  sums[kChosenNll] += policy.chosen_nll.item<double>();
  sums[kChosenTokens] += static_cast<double>(policy.chosen_tokens);
  const auto mean = loss / divisors.pairs;
  if (options_.rpo_alpha == 0.0) return mean;
  return mean + policy.chosen_nll * (options_.rpo_alpha / divisors.chosen_tokens);
}

void PreferenceObjective::begin_step(const std::vector<int64_t>& rows, const Parts& parts,
                                     const tuners::ForwardContext& context) {
  int64_t chosen_tokens = 0;
  for (const int64_t row : rows) chosen_tokens += labelled_tokens_of(data_.train, 2 * row);
  divisors_ = {.pairs = static_cast<double>(rows.size()),
               .chosen_tokens = static_cast<double>(chosen_tokens)};
  batches_.clear();
  for (const auto& part : parts) batches_.push_back(data_.batch(part));
  references_ = reference(batches_, context);
}

Objective::Part PreferenceObjective::loss(size_t index, const tuners::ForwardContext& context,
                                          const at::Tensor& anchor, Sums& sums) {
  const auto& batch = batches_.at(index);
  Part part;
  part.loss = loss_of(answers(batch, context, anchor), references_[index], divisors_, sums);
  part.value = part.loss.item<double>();
  part.tokens = static_cast<int64_t>(batch.input_ids.size());
  return part;
}

void PreferenceObjective::begin_evaluation(const Parts& parts,
                                           const tuners::ForwardContext& context) {
  if (evaluated_) return;
  evaluated_ = true;
  for (const auto& part : parts) eval_batches_.push_back(data_.eval_batch(part));
  eval_references_ = reference(eval_batches_, context);
}

void PreferenceObjective::measure(size_t index, const tuners::ForwardContext& context, Sums& sums) {
  const at::NoGradGuard no_grad;
  loss_of(answers(eval_batches_.at(index), context, {}), eval_references_[index], {}, sums);
}

double PreferenceObjective::mean_loss(const Sums& sums) const {
  return per_pair(sums, kLoss) + options_.rpo_alpha * mean_nll(sums);
}

Figures PreferenceObjective::figures(const Sums& sums) const {
  Figures figures{{"rewards/chosen", per_pair(sums, kChosenReward)},
                  {"rewards/rejected", per_pair(sums, kRejectedReward)},
                  {"rewards/accuracies", per_pair(sums, kAccurate)},
                  {"rewards/margins", margin(sums)},
                  {"logps/chosen", per_pair(sums, kChosenLogp)},
                  {"logps/rejected", per_pair(sums, kRejectedLogp)}};
  if (options_.rpo_alpha != 0.0) figures.emplace_back("nll_loss", mean_nll(sums));
  return figures;
}

int64_t PreferenceObjective::count(const Sums& sums) const {
  return static_cast<int64_t>(sums[kPairs]);
}

std::string PreferenceObjective::words(const Sums& sums) const {
  return "reward margin " + three_digits(margin(sums)) + "  accuracy " +
         three_digits(per_pair(sums, kAccurate));
}

}  // namespace tunefleet::trainer
