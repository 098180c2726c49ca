#include "tuners/trainable_set.h"

#include "tuners/random.h"

namespace tunefleet::tuners {

int64_t TrainableSet::numel() const {
  int64_t count = 0;
  for (const auto& entry : tensors) count += entry.tensor.numel();
  return count;
}

uint64_t TrainableSet::fingerprint() const {
  uint64_t hash = mix(version, tensors.size());
  for (const auto& [path, tensor, decay, int8] : tensors) {
    hash = mix(hash, stream_id(path));
    hash = mix(hash, static_cast<uint64_t>(tensor.scalar_type()));
    hash = mix(hash, tensor.sizes().size());
    for (const int64_t size : tensor.sizes()) hash = mix(hash, static_cast<uint64_t>(size));
    hash = mix(hash, (decay ? 1 : 0) + (int8 ? 2 : 0));
  }
  return hash;
}

}  // namespace tunefleet::tuners
