#include "worker/trainer/preference_loss.h"

#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>

namespace tunefleet::trainer {
namespace {

/// Log-ratios of policy to reference, [P].
struct LogRatios {
  at::Tensor chosen, rejected;
  at::Tensor difference() const { return chosen - rejected; }
};

using PairLoss = at::Tensor (*)(const LogRatios& ratios, const PreferenceOptions& options);

at::Tensor sigmoid(const LogRatios& ratios, const PreferenceOptions& options) {
  const auto logits = ratios.difference() * options.beta;
  return -at::log_sigmoid(logits) * (1.0 - options.label_smoothing) -
         at::log_sigmoid(-logits) * options.label_smoothing;
}

at::Tensor robust(const LogRatios& ratios, const PreferenceOptions& options) {
  const auto logits = ratios.difference() * options.beta;
  const auto biased = -at::log_sigmoid(logits) * (1.0 - options.label_smoothing) +
                      at::log_sigmoid(-logits) * options.label_smoothing;
  return biased / (1.0 - 2.0 * options.label_smoothing);
}

at::Tensor hinge(const LogRatios& ratios, const PreferenceOptions& options) {
  return at::relu(1.0 - ratios.difference() * options.beta);
}

at::Tensor ipo(const LogRatios& ratios, const PreferenceOptions& options) {
  return (ratios.difference() - 0.5 / options.beta).square();
}

at::Tensor nca_pair(const LogRatios& ratios, const PreferenceOptions& options) {
  const auto chosen = ratios.chosen * options.beta;
  const auto rejected = ratios.rejected * options.beta;
  return -at::log_sigmoid(chosen) - (at::log_sigmoid(-chosen) + at::log_sigmoid(-rejected)) * 0.5;
}

at::Tensor sppo_hard(const LogRatios& ratios, const PreferenceOptions& options) {
  const double wanted = 0.5 / options.beta;
  return (ratios.chosen - wanted).square() + (ratios.rejected + wanted).square();
}

at::Tensor apo_zero(const LogRatios& ratios, const PreferenceOptions& options) {
  return 1.0 - at::sigmoid(ratios.chosen * options.beta) +
         at::sigmoid(ratios.rejected * options.beta);
}

at::Tensor apo_down(const LogRatios& ratios, const PreferenceOptions& options) {
  return at::sigmoid(ratios.chosen * options.beta) + 1.0 -
         at::sigmoid(ratios.difference() * options.beta);
}

struct NamedLoss {
  std::string_view name;
  PairLoss loss;
};
constexpr std::array kLosses{
    NamedLoss{"sigmoid", &sigmoid},   NamedLoss{"robust", &robust},
    NamedLoss{"hinge", &hinge},       NamedLoss{"ipo", &ipo},
    NamedLoss{"nca_pair", &nca_pair}, NamedLoss{"sppo_hard", &sppo_hard},
    NamedLoss{"apo_zero", &apo_zero}, NamedLoss{"apo_down", &apo_down},
};

}  // namespace

at::Tensor preference_loss(const PreferenceOptions& options, const AnswerLogps& policy,
                           const AnswerLogps& reference) {
  const auto known = std::find_if(kLosses.begin(), kLosses.end(), [&](const NamedLoss& entry) {
    return entry.name == options.loss_type;
  });
  if (known == kLosses.end())
    throw std::invalid_argument("unknown loss_type: " + options.loss_type);
  return known->loss({policy.chosen - reference.chosen, policy.rejected - reference.rejected},
                     options);
}

}  // namespace tunefleet::trainer
