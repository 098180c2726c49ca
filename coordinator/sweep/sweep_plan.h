#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// Early stopping by successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943), without
/// waiting for whole rungs (ASHA: Li et al. 2020, arXiv:1810.05934).
struct Halving {
  int64_t eta = 3;        ///< One of `eta` jobs goes on from each rung, >= 2.
  int64_t min_steps = 1;  ///< The first rung.
  int64_t max_steps = 1;  ///< Every job's max_steps, above min_steps.
  bool operator==(const Halving&) const = default;
};

/// What a sweep's jobs are compared by, and how many run at a time.
struct SweepPlan {
  std::string metric = "eval_loss";  ///< eval_loss | loss: the lower, the better.
  std::optional<Halving> halving{};  ///< Unset: every job runs to its end.
  int64_t max_parallel = 1;          ///< Jobs in the queue or running at once.

  /// Steps at which jobs are compared: min_steps, eta times that, … below max_steps.
  std::vector<int64_t> rungs() const;
  bool operator==(const SweepPlan&) const = default;
};

nlohmann::json to_json(const SweepPlan& plan);
/// The reverse; kDataLoss for anything else than to_json() makes.
Result<SweepPlan> sweep_plan_from_json(const nlohmann::json& value);

}  // namespace tunefleet::coordinator
