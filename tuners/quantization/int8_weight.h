#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tuners/quantization/group_quantization.h"

namespace tunefleet::tuners {

/// A weight that lives in 8 bits: a float copy of it exists only while it is read or written.
/// Source: Zhang et al. 2024, Q-GaLore, arXiv:2407.08296, §3.4.
class Int8Weight {
 public:
  static constexpr int64_t kGroup = 256;

  /// Rounds `value` to the nearest codes, on its device.
  explicit Int8Weight(const at::Tensor& value);

  at::IntArrayRef shape() const { return groups_.shape; }
  at::ScalarType dtype() const { return dtype_; }  ///< Of the value it was made from.
  /// The weight as numbers of `dtype`: a new tensor.
  at::Tensor read(at::ScalarType dtype) const { return dequantize(groups_, dtype); }
  at::Tensor read() const { return read(dtype_); }
  /// Takes `value` over, with new scales and stochastic rounding, whose draws depend on `key`
  /// alone: steps far smaller than a code's width are taken in expectation.
  void write(const at::Tensor& value, uint64_t key);
  /// Takes `value` over, rounded to the nearest.
  void assign(const at::Tensor& value);

  /// The tensors it consists of, "codes", "scales", "zeros": what a resumed run fills in place.
  std::vector<std::pair<std::string, at::Tensor>> parts() const;
  int64_t bytes() const { return groups_.bytes(); }

  /// A leaf of the weight's shape and dtype that requires grad and has no memory of its own: it
  /// stands for the weight where gradients are gathered.
  at::Tensor stand_in() const { return stand_in_; }

 private:
  QuantizedGroups groups_;
  at::ScalarType dtype_;
  at::Tensor stand_in_;
};

}  // namespace tunefleet::tuners
