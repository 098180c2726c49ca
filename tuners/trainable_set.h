#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tuners/quantization/int8_weight.h"

namespace tunefleet::tuners {

/// One tensor that trains, under the path it has in files.
struct TrainableTensor {
  std::string path;   ///< "model.layers.0.self_attn.q_proj.lora_A.default.weight"
  at::Tensor tensor;  ///< A leaf that requires grad; optimizers change it in place.
  bool decay = true;  ///< Whether weight decay applies (not to biases and norms).
  /// When set the values lie here, and `tensor` is their stand-in: it has shape and gradient only.
  std::shared_ptr<Int8Weight> int8 = nullptr;
};

/// Exactly what trains, in an order that all ranks share. Optimizer, gradient sync and checkpoint
/// all take this one value; whoever changes the set moves the version, and ranks check that they
/// hold the same.
struct TrainableSet {
  std::vector<TrainableTensor> tensors;
  uint64_t version = 0;

  int64_t numel() const;
  /// Of paths, shapes and version: equal on ranks that hold the same set.
  uint64_t fingerprint() const;
};

}  // namespace tunefleet::tuners
