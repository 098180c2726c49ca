#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace tunefleet::models {

/// A part of a model from its tensors in to its one tensor out.
using Segment = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;

/// Runs `segment`(inputs) without keeping what it computes, and runs it again in backward (Chen et
/// al. 2016, arXiv:1604.06174). Nothing random may be drawn in it but by (seed, step, stream).
/// Tensors that the segment uses beside its inputs get their gradients if they are leaves; what is
/// computed outside of it must be an input. `anchor` is any tensor that requires a gradient, so
/// that the segment is visited in backward even when no input needs one; it gets no gradient.
at::Tensor checkpoint(Segment segment, const std::vector<at::Tensor>& inputs,
                      const at::Tensor& anchor);

}  // namespace tunefleet::models
