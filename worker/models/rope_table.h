#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/models/model_config.h"

namespace tunefleet::models {

/// Angles of rotary embedding for a model: frequencies once, cos and sin rows on demand.
/// Source: Hugging Face's rope types default, linear, llama3 (Llama 3.1) and yarn (Peng et al.
/// 2023, arXiv:2309.00071).
class RopeTable {
 public:
  explicit RopeTable(const ModelConfig& config);

  struct Angles {
    at::Tensor cos;  ///< float32 [N, head_dim / 2], times the attention factor (yarn).
    at::Tensor sin;
  };
  /// One row for each position.
  Angles at(const std::vector<int32_t>& positions, at::Device device) const;

  const std::vector<float>& frequencies() const { return frequencies_; }
  double attention_factor() const { return attention_factor_; }

 private:
  std::vector<float> frequencies_;  ///< [head_dim / 2]
  double attention_factor_ = 1.0;
};

}  // namespace tunefleet::models
