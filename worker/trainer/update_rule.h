#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "worker/trainer/optimizer.h"
#include "worker/trainer/saved_state.h"

namespace tunefleet::trainer {

enum class RuleKind { kAdam, kAdam8Bit, kAdafactor };

struct RuleOptions {
  RuleKind kind = RuleKind::kAdam;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
};

/// How far a step goes along the direction, and what decoupled weight decay leaves of the weight.
struct StepSize {
  double rate = 0.0;
  double kept = 1.0;
};

/// What an optimizer makes of one tensor's gradients, wherever they come from: a history, and a
/// direction d, so that the step is -learning_rate * d. GaLore feeds it projected gradients.
class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  /// Takes a gradient (any shape, the same at every call; float32) into the history and returns the
  /// direction of step number `step`, from 1, in float32.
  virtual at::Tensor direction(const at::Tensor& gradient, int64_t step) = 0;
  /// direction() and the step along it at once: moves `value`, of the gradient's shape, on.
  virtual void move(at::Tensor& value, const at::Tensor& gradient, int64_t step,
                    const StepSize& size);
  /// Whether decoupled weight decay comes before the step and not after it.
  virtual bool decays_first() const { return false; }
  /// Appends the history under `prefix`; nothing before the first gradient.
  virtual void append_state(const std::string& prefix, Optimizer::NamedTensors& out) const = 0;
  /// Reads it back; `shape` is the gradients'. Throws as SavedState does.
  virtual void load(const std::string& prefix, at::IntArrayRef shape, at::Device device,
                    SavedState& saved) = 0;
};

/// value -= rate * direction, and decay before or after it.
void move_along(at::Tensor& value, const at::Tensor& direction, const StepSize& size,
                bool decays_first);

/// `dtype`: in which Adam's moments are kept.
///   kAdam       m / (sqrt(v) + eps) with both bias corrections outside of the epsilon, as
///               GaLore's AdamW has them (Zhao et al. 2024, arXiv:2403.03507, algorithm 2)
///   kAdam8Bit   m^ / (sqrt(v^) + eps), moments in 8 bits from 4096 numbers on (arXiv:2110.02861)
///   kAdafactor  Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 and 5 with a given learning
///               rate and no first moment: what transformers' `optim: adafactor` runs
std::unique_ptr<UpdateRule> make_rule(const RuleOptions& options, at::ScalarType dtype);

}  // namespace tunefleet::trainer
