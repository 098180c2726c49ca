#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "tuners/trainable_set.h"
#include "worker/collective/group.h"

namespace tunefleet::collective {

/// Holds the gradients of a trainable set in one flat buffer (one for each dtype that occurs), and
/// sums it over ranks: what travels is exactly the trainable tensors. Each tensor's .grad is a view
/// into the buffer, so nothing is copied. When the set changes (its version moves), this is
/// destroyed, which takes the gradients away from the tensors, and made anew.
class GradientSync {
 public:
  /// Checks that all ranks hold the same set; throws c10::Error with both fingerprints when not.
  /// `group` outlives it.
  GradientSync(const tuners::TrainableSet& set, Group& group);
  ~GradientSync();
  GradientSync(const GradientSync&) = delete;
  GradientSync& operator=(const GradientSync&) = delete;

  /// Before the first backward of a step.
  void zero();
  /// After the last: every rank then holds the sum. Throws when a tensor's .grad was replaced on
  /// the way.
  void all_reduce();
  /// The norm of all gradients together, in float64 over float32 parts.
  double norm() const;
  /// Multiplies all gradients.
  void scale(double factor);
  /// What one all_reduce() sends in, per rank.
  int64_t bytes() const;

 private:
  const tuners::TrainableSet set_;
  Group& group_;
  std::vector<at::Tensor> flats_;
  std::vector<at::Tensor> views_;  ///< In the set's order.
};

/// Throws c10::Error with both fingerprints when the ranks do not all hold the same set.
void check_same_set(const tuners::TrainableSet& set, Group& group);

/// A 64-bit hash of the trainable tensors' bytes: what ranks compare to see that they hold the same
/// bits.
uint64_t bits_digest(const tuners::TrainableSet& set);

}  // namespace tunefleet::collective
