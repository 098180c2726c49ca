#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"

namespace tunefleet::tuners {

/// How LoRA adapters are made into one; names and defaults are those of PEFT's
/// add_weighted_adapter. With c_i = weight_i * scaling_i, D_i = B_i A_i:
///   cat                 A = [c_i A_i], B = [B_i], rank the sum of all: exact
///   svd                 the best update of rank svd_rank for sum c_i D_i
///   linear              A = sum sgn(c_i) sqrt|c_i| A_i, B = sum sqrt|c_i| B_i: quick, and with
///                       cross terms B_i A_j that the adapters do not have
///   magnitude_prune, dare_linear, dare_ties, ties
///                       the same on A and B, pruned (task_arithmetic.h)
///   <those>_svd         on the D_i, then as svd
/// One adapter alone is always linear.
struct Combination {
  std::string combination_type = "svd";
  std::optional<int64_t> svd_rank{};  ///< Unset: the largest rank among the adapters.
  std::optional<double> svd_clamp{};  ///< Quantile that values of the result are clamped to.
  std::optional<double> density{};    ///< Part of the values that pruning keeps; required there.
  std::string majority_sign_method = "total";  ///< total | frequency.
  uint64_t seed = 42;                          ///< Of DARE's draws.
};

/// Every combination_type.
const std::vector<std::string>& combination_types();

/// A LoRA adapter called `name` that is those adapters together; it has alpha = r, so that its
/// scaling is 1, and what any of them trains in full (modules_to_save, biases) as it is.
/// It has an update at just the layers that any of them updates. kInvalidArgument: not LoRA, DoRA,
/// PiSSA or OLoRA (their updates are not sums of B A), a weight that is not finite, unequal ranks
/// where the type needs equal ones, a missing density, a svd_clamp that is no quantile, one module
/// trained in full by two of them or trained in full by one and updated by another, a bias of B.
Result<std::unique_ptr<Adapter>> combine_lora(BaseModel& base,
                                              const std::vector<const Adapter*>& adapters,
                                              const std::vector<double>& weights,
                                              const std::string& name, const Combination& how);

}  // namespace tunefleet::tuners
