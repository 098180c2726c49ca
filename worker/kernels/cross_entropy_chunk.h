#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tunefleet::kernels {

/// Rows of logits that are in memory at a time, for an output embedding [V, C].
int64_t chunk_rows(const at::Tensor& weight);

/// Of the rows of one chunk of logits.
struct ChunkLosses {
  at::Tensor losses;    ///< -log p(target) of each row, float32.
  int64_t correct = 0;  ///< Rows whose target has the largest logit.
};

/// Cross-entropy of logits [c, V], float32 or bfloat16, no autograd; targets int64 [c]. With
/// `gradient` the logits turn into scale * (softmax - onehot) in place, otherwise they are not
/// changed.
ChunkLosses cross_entropy_of(at::Tensor& logits, const at::Tensor& targets, double scale,
                             bool gradient);

}  // namespace tunefleet::kernels
