#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace tunefleet::tuners {

/// A low-rank addition to a weight, scaling * B A.
struct ScaledFactors {
  at::Tensor a;  ///< [r, in]
  at::Tensor b;  ///< [out, r]
  double scaling = 1.0;
};

/// Lengths of the rows of W + sum of scaling * B A, without the sum ever being formed:
///   |W_o + B_o A|^2 = |W_o|^2 + 2 B_o (W A^T)_o + B_o (A A^T) B_o^T,
/// which costs as much as W A^T, once for each change of a factor. W never changes. Any number of
/// threads. DoRA: Liu et al. 2024, arXiv:2402.09353, eq. 5.
class RowNorm {
 public:
  /// weight [out, in]; a transposed view measures columns.
  explicit RowNorm(at::Tensor weight) : weight_(std::move(weight)) {}

  /// float32 [out], on the weight's device. Takes no part in any gradient.
  at::Tensor of(const std::vector<ScaledFactors>& additions) const;

 private:
  struct Version {
    const void* tensor;
    const void* data;
    uint32_t version;
    bool operator==(const Version&) const = default;
  };
  at::Tensor measure(const std::vector<ScaledFactors>& additions) const;

  at::Tensor weight_;
  mutable std::mutex mutex_;
  mutable at::Tensor squares_;             ///< |W_o|^2, double [out].
  mutable std::vector<Version> measured_;  ///< Of the factors that norm_ belongs to.
  mutable at::Tensor norm_;
};

}  // namespace tunefleet::tuners
