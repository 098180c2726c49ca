#pragma once

#include <cstdint>
#include <string>

#include "worker/collective/group.h"
#include "worker/trainer/objective.h"

namespace tunefleet::trainer {

/// Means over held-out rows.
struct Evaluation {
  double loss = 0.0;
  Figures figures;
  int64_t count = 0;  ///< Of what the loss is a mean over, Objective::unit().
  std::string words;  ///< The figures for people.
};

/// Runs the model over the rows 0 … rows - 1 that are held out, shared out over the ranks; all
/// ranks get the same numbers. `context`: of evaluation, that is no noise and no dropout.
Evaluation evaluate(Objective& objective, int64_t rows, int64_t batch, collective::Group& group,
                    const tuners::ForwardContext& context);

}  // namespace tunefleet::trainer
