#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "tuners/sites.h"
#include "worker/models/token_batch.h"

namespace tunefleet::models {

/// A batch with P virtual tokens in front of each sequence, as rows of [P virtual; N real].
struct VirtualTokens {
  int64_t count = 0;  ///< P; 0: none, and the rest is empty.
  std::shared_ptr<const tuners::Boundaries> boundaries;
  at::Tensor rows;  ///< int64 [N']: for each row of the longer batch, its row in [P; N].
  at::Tensor real;  ///< int64 [N]: the real tokens' rows in the longer batch.
  std::vector<int32_t> positions;  ///< [N'], from 0 within each sequence.

  static VirtualTokens before_each(const tuners::Boundaries& boundaries,
                                   const std::vector<int32_t>& positions, int64_t count,
                                   at::Device device);
  /// [P, …] and [N, …] -> [N', …], differentiable in both.
  at::Tensor with(const at::Tensor& virtual_rows, const at::Tensor& real_rows) const;
  /// [N', …] -> [N, …]
  at::Tensor without(const at::Tensor& rows_of_both) const;
  /// The longer batch's labels and boundaries: nothing is learned about virtual tokens.
  TokenBatch labelled(const TokenBatch& real_batch) const;
  /// Keys for the draws of the longer batch: virtual token p of a sequence is its first token's row
  /// with position 2^31 + p.
  at::Tensor token_keys(const at::Tensor& real_keys) const;
};

}  // namespace tunefleet::models
