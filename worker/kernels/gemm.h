#pragma once

#include <ATen/core/Tensor.h>

namespace tunefleet::kernels {

/// Who multiplies on the CPU. Fast: float32 by oneDNN, which has twice the speed of torch's default
/// (MKL) on AMD, and bfloat16 by our own loops (gemm_loops.h) where that is faster than torch. The
/// reference is torch itself, for the digits that transformers gives.
enum class Product { kFast, kReference };

/// x [N, in] times weight [out, in] transposed, plus bias [out] unless undefined: [N, out]. No
/// autograd.
at::Tensor matmul_nt(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {},
                     Product product = Product::kFast);

/// dy [N, out] times weight [out, in]: [N, in]. No autograd.
at::Tensor matmul_nn(const at::Tensor& dy, const at::Tensor& weight);

/// dy [N, out] transposed times x [N, in]: [out, in]. No autograd.
at::Tensor matmul_tn(const at::Tensor& dy, const at::Tensor& x);

/// Whether fast products of these two are made by our own loops.
bool runs_gemm_loops(const at::Tensor& a, const at::Tensor& b);

/// Whether this CPU multiplies bfloat16 numbers more slowly than float32 ones: all x86 but those
/// with AMX, and of AMD those with AVX512_BF16 (Intel runs that at half the speed of float32).
bool bfloat16_products_are_slow();

}  // namespace tunefleet::kernels
