#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tuners/sites.h"

namespace tunefleet::kernels {

/// The key of one site's draws in one optimizer step.
uint64_t dropout_key(const tuners::ForwardContext& context, uint64_t stream);

/// x [N, C] with elements zeroed with probability p and the others scaled by 1 / (1 - p). What is
/// kept depends on (key, token_keys[n], c) alone: not on the number of ranks, the batch or the
/// device, and the same call gives the same mask again, so backward and recomputation need none
/// stored. token_keys int64 [N] on the CPU. No autograd: the backward of dropout is dropout.
at::Tensor dropout(const at::Tensor& x, const at::Tensor& token_keys, uint64_t key, double p);

/// The same as a differentiable operation: a tuners::DropoutFunction. x [N, …].
at::Tensor differentiable_dropout(const at::Tensor& x, const tuners::ForwardContext& context,
                                  uint64_t stream, double p);

}  // namespace tunefleet::kernels
