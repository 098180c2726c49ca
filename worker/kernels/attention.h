#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/kernels/gemm.h"

namespace tunefleet::kernels {

/// Causal attention of sequences that lie one behind the other, each seeing only itself.
/// q [N, H, D]; k, v [N, KH, D] with H a multiple of KH (grouped queries); boundaries: rows+1
/// offsets from 0 to N; the result [N, H * D]. `window` > 0: a token sees itself and the window - 1
/// before it. Differentiable. Neighbouring sequences of one length go through one call of torch's
/// flash attention; where it is fast on a CPU, its backward pass keeps q, k, v and the result as
/// they are. A forward pass that is to be repeated exactly takes the same `product` both times.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& boundaries, int64_t window, double scale,
                            Product product = Product::kFast);

/// Attention of the last T tokens of one sequence to all S before and including them: q [T, H, D];
/// k, v [S, KH, D]; the result [T, H * D]. For generation with a cache; no autograd needed.
at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t window, double scale);

}  // namespace tunefleet::kernels
