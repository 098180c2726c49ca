#pragma once

#include <cstdint>

#include "worker/collective/group.h"
#include "worker/data/encoded_dataset.h"
#include "worker/models/decoder.h"

namespace tunefleet::trainer {

/// Means over the labelled tokens of a data set.
struct Evaluation {
  double loss = 0.0;
  double token_acc = 0.0;
  int64_t tokens = 0;
};

/// Runs the model over `examples`, shared out over the ranks; all ranks get the same numbers.
/// `context`: of evaluation, that is no noise and no dropout.
Evaluation evaluate(const models::Decoder& model, const data::EncodedDataset& examples,
                    int64_t batch, collective::Group& group, const tuners::ForwardContext& context);

}  // namespace tunefleet::trainer
