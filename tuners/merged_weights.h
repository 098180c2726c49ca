#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <vector>

#include "tuners/adapter.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// The weights of a base model that hold the updates of merged adapters. The base's tensors are
/// never written: a merged weight is a new tensor in the slot, original + sum of updates, added in
/// float32 and rounded once to the slot's dtype, and the original waits here. SwiftModel's rules
/// about threads hold.
class MergedWeights {
 public:
  /// Merges what these have at linear layers, embeddings and convolutions, the first innermost. In
  /// a slot whose parameter is replaced the merged tensor takes the replacement's place.
  void merge(const std::vector<const Adapter*>& adapters);
  /// Puts the originals back, bit for bit; replacements are the caller's to remove.
  void restore();
  /// What the slots hold now is the base.
  void keep() { originals_.clear(); }
  /// The first of `slots` that merging `adapter` would write to; null for none. A bias counts where
  /// its value would change.
  static const ParameterSlot* written_to(const Adapter& adapter,
                                         const std::set<const ParameterSlot*>& slots);
  /// The base's own tensor of a slot.
  const at::Tensor& original(ParameterSlot& slot) const;

 private:
  template <typename Part>
  void merge_parts(const std::vector<const Adapter*>& adapters,
                   std::vector<Part> (Adapter::*parts)() const);
  template <typename Site>
  void set_weights(Site& site, const LayerWeights& weights);
  void set_merged(ParameterSlot& slot, const at::Tensor& value);

  std::map<ParameterSlot*, at::Tensor> originals_;
};

}  // namespace tunefleet::tuners
