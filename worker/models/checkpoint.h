#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace tunefleet::models {

/// Runs `segment`(x) without keeping what it computes, and runs it again in backward (Chen et al.
/// 2016, arXiv:1604.06174). Nothing random may be drawn in it but by (seed, step, stream). `anchor`
/// is any tensor that requires a gradient, so that the segment is visited in backward even when x
/// itself needs none; it gets no gradient.
at::Tensor checkpoint(std::function<at::Tensor(const at::Tensor&)> segment, const at::Tensor& x,
                      const at::Tensor& anchor);

}  // namespace tunefleet::models
