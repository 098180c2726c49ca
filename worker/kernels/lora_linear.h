#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "tuners/sites.h"

namespace tunefleet::kernels {

/// A linear layer with its updates, one of several that read the same x.
struct LoraLayer {
  at::Tensor weight;  ///< [out, in]
  at::Tensor bias;    ///< [out], or undefined.
  /// A_i [r_i, in], B_i [out, r_i], the bias beside B_i [out]: in float32 or x's dtype.
  std::vector<tuners::LowRankUpdate> updates;
  std::vector<tuners::MappedUpdate> mapped{};          ///< U_j [out, in]
  std::vector<tuners::WeightUpdate> weight_updates{};  ///< D_k [out, in]
};

/// y = x W^T + b + sum_i scaling_i * (B_i(A_i(dropout_i(x))) + bias_i), as one autograd node.
/// Mapped updates add x U_j^T; W is the weight with its updates, W + sum D_k.
///
/// x [N, in]; y [N, out]. Only x and the r-wide A_i x are kept for backward, x not where the weight
/// is frozen and has no updates; a sum of weights is formed again there. dX = dY W + sum g_i A_i +
/// sum dY U_j goes into one buffer, and is left out where x needs no gradient; dropout masks are
/// drawn again instead of stored. Gradients: dB = s dY^T t, g = s dY B, dA = g^T x (Hu et al. 2021,
/// eq. 3, by hand).
at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       std::vector<tuners::LowRankUpdate> updates,
                       const tuners::ForwardContext& context);

/// The same for layers of one input (q, k and v; gate and up), each y in its place: x is read once
/// for all updates without dropout, and all layers' dX go into one buffer.
std::vector<at::Tensor> lora_linears(const at::Tensor& x, std::vector<LoraLayer> layers,
                                     const tuners::ForwardContext& context);

}  // namespace tunefleet::kernels
