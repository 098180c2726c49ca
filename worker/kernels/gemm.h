#pragma once

#include <ATen/core/Tensor.h>

namespace tunefleet::kernels {

/// Which library multiplies float32 on the CPU: oneDNN has twice the speed of torch's default (MKL)
/// on AMD; MKL gives the digits that transformers gives.
enum class Product { kFast, kReference };

/// x [N, in] times weight [out, in] transposed, plus bias [out] unless undefined: [N, out]. No
/// autograd.
at::Tensor matmul_nt(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {},
                     Product product = Product::kFast);

/// dy [N, out] times weight [out, in]: [N, in]. No autograd.
at::Tensor matmul_nn(const at::Tensor& dy, const at::Tensor& weight);

}  // namespace tunefleet::kernels
