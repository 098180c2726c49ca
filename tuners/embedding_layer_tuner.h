#pragma once

#include <vector>

#include "tuners/adapter.h"
#include "tuners/linear_adapter.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// A tuner at one embedding with tensors of its own, whose effect can become part of the table.
class EmbeddingLayerTuner : public EmbeddingTuner {
 public:
  virtual std::vector<LayerTensor> tensors() const = 0;
  /// `weights.weight` [V, C] float32 holds what is inside.
  virtual void merge_into(LayerWeights& weights) const = 0;
};

}  // namespace tunefleet::tuners
