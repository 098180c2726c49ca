#pragma once

#include <cstdint>

#include "worker/kernels/cpu_loops.h"

namespace tunefleet::kernels::cpu {

/// Sum of x[i]^2 in float32, on one thread: for pieces that a float32 sum is exact enough for.
float sum_of_squares(const float* x, int64_t n);
float sum_of_squares(const Bf16* x, int64_t n);

}  // namespace tunefleet::kernels::cpu
