#pragma once

#include <memory>

#include "worker/trainer/update_rule.h"

namespace tunefleet::trainer {

/// RuleKind::kAdafactor. History: "exp_avg_sq_row" and "exp_avg_sq_col" of matrices, "exp_avg_sq"
/// of vectors.
std::unique_ptr<UpdateRule> make_adafactor_rule();

}  // namespace tunefleet::trainer
