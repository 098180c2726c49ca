#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

/// Discrete Fourier transforms of real numbers along rows, a row's transforms at once, real and
/// imaginary parts beside one another: what products with a SparsePattern take. On all cores: the
/// library's own transforms run on one. No autograd.
namespace tunefleet::tuners {

/// The half spectra of x's blocks of b: [N, width] of any float dtype, b divides width -> float32
/// [N, width / b * (b / 2 + 1) * 2].
at::Tensor block_spectra(const at::Tensor& x, int64_t b);

/// The other way, [N, width] float32: with what irfft adds, the mirror image, and divides by, b.
at::Tensor from_block_spectra(const at::Tensor& spectra, int64_t b);

}  // namespace tunefleet::tuners
