#pragma once

#include <cstdint>

#include "worker/kernels/cpu_loops.h"

/// Products of bfloat16 matrices on a CPU that multiplies float32 faster: numbers are widened on
/// their way into the first cache, sums are float32 in the order of k, and results are rounded
/// once. A result does not depend on the number of threads. Rows are contiguous; no torch here.
/// Source of the scheme: Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix
/// Multiplication"; here the weight is never packed, its panels are made where they are used.
namespace tunefleet::kernels::cpu {

/// y [tokens, out] = x [tokens, in] times w [out, in] transposed, plus bias [out] unless null.
void gemm_nt(const Bf16* x, const Bf16* w, const float* bias, Bf16* y, int64_t tokens, int64_t out,
             int64_t in);

/// dx [tokens, in] = dy [tokens, out] times w [out, in].
void gemm_nn(const Bf16* dy, const Bf16* w, Bf16* dx, int64_t tokens, int64_t out, int64_t in);

/// dw [out, in] = dy [tokens, out] transposed times x [tokens, in].
void gemm_tn(const Bf16* dy, const Bf16* x, Bf16* dw, int64_t tokens, int64_t out, int64_t in);

}  // namespace tunefleet::kernels::cpu
