#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "tuners/sites.h"

namespace tunefleet::models {

/// Runs a linear site with the tuners that are active on it: x [N, in] -> y [N, out]. When all of
/// them are low-rank updates they run with the base in one fused kernel; otherwise the outermost
/// wraps the rest. With plain lora_kernels, low-rank updates do so too.
at::Tensor linear(const tuners::LinearSite& site, const at::Tensor& x,
                  const tuners::ForwardContext& context);

/// The same for sites that read the same x (q, k and v; gate and up), each y in its place: one
/// fused kernel for all of them where that is possible.
std::vector<at::Tensor> linears(const std::vector<const tuners::LinearSite*>& sites,
                                const at::Tensor& x, const tuners::ForwardContext& context);

}  // namespace tunefleet::models
