#pragma once

#include <cstdint>
#include <string>

namespace tunefleet::trainer {

/// The learning rate over a run, as transformers' schedulers have it: a linear warm-up, then
/// `type`.
struct Schedule {
  std::string type = "cosine";  ///< linear | cosine | constant
  double learning_rate = 1e-4;
  double warmup_steps = 0;
  double total_steps = 1;

  /// At `step` optimizer steps done, 0 <= step <= total_steps; may lie between two steps (a run
  /// bounded by time).
  double at(double step) const;
};

}  // namespace tunefleet::trainer
