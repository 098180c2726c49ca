#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace tunefleet::trainer {

/// The settings of direct preference optimisation, named as TRL's DPOConfig names them.
struct PreferenceOptions {
  std::string loss_type = "sigmoid";
  double beta = 0.1;             ///< Above 0.
  double label_smoothing = 0.0;  ///< Of sigmoid and robust, 0 <= … < 0.5.
  double rpo_alpha = 0.0;        ///< Weight of the chosen answers' own loss.

  /// Whether an answer counts by the mean of its tokens' log-probabilities instead of their sum.
  bool averages_tokens() const { return loss_type == "ipo"; }
};

/// Of P pairs, float64 [P]: log p(answer) of the chosen and of the rejected ones.
struct AnswerLogps {
  at::Tensor chosen;
  at::Tensor rejected;
};

/// The loss of each pair, float64 [P], differentiable in `policy`. With c and r the log-ratios of
/// policy to reference of the chosen and the rejected answer, d = c - r, b = beta, e =
/// label_smoothing and s the logistic function:
///   sigmoid    -(1 - e) log s(b d) - e log s(-b d)      Rafailov et al. 2023, arXiv:2305.18290,
///              eq. 7; smoothed as in Mitchell's note on conservative DPO
///   robust     (-(1 - e) log s(b d) + e log s(-b d)) / (1 - 2 e)   Chowdhury et al. 2024,
///              arXiv:2403.00409
///   hinge      max(0, 1 - b d)                          Zhao et al. 2023, arXiv:2305.10425
///   ipo        (d - 1 / (2 b))^2                        Azar et al. 2023, arXiv:2310.12036, eq. 17
///   nca_pair   -log s(b c) - (log s(-b c) + log s(-b r)) / 2       Chen et al. 2024,
///              arXiv:2402.05369
///   sppo_hard  (c - 1 / (2 b))^2 + (r + 1 / (2 b))^2    Wu et al. 2024, arXiv:2405.00675
///   apo_zero   1 - s(b c) + s(b r)                      D'Oosterlinck et al. 2024,
///   apo_down   s(b c) + 1 - s(b d)                      arXiv:2408.06266
/// Throws std::invalid_argument for another loss_type.
at::Tensor preference_loss(const PreferenceOptions& options, const AnswerLogps& policy,
                           const AnswerLogps& reference);

}  // namespace tunefleet::trainer
