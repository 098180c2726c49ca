#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "storage/safetensors.h"

/// Where bytes at rest become tensors and tensors become bytes.
namespace tunefleet::tuners {

/// The torch dtype of a stored one.
at::ScalarType scalar_type(storage::Dtype dtype);
/// The stored dtype of a torch one. Throws std::invalid_argument for types safetensors files do not
/// have here.
storage::Dtype storage_dtype(at::ScalarType type);

/// A tensor on the view's own bytes, without a copy; holds `keep_alive` (the file) as long as any
/// tensor shares them. The bytes of a mapped file are read-only: **writing to the tensor kills the
/// process**. Bytes that are not aligned to their dtype are copied.
at::Tensor map_tensor(const storage::TensorView& view, std::shared_ptr<const void> keep_alive);

/// A tensor with bytes of its own.
at::Tensor copy_tensor(const storage::TensorView& view);

/// The bytes of `tensor` under `name`; valid as long as the tensor. Throws std::invalid_argument
/// unless it is contiguous and on the CPU.
storage::TensorView view_of(const std::string& name, const at::Tensor& tensor);

/// One tensor of a file.
struct NamedTensor {
  std::string key;
  at::Tensor tensor;
};

/// "[8, 576]": a shape for messages.
std::string shape_text(at::IntArrayRef shape);

}  // namespace tunefleet::tuners
