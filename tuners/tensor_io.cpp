#include "tuners/tensor_io.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/StringUtil.h>

#include <cstring>
#include <stdexcept>
#include <utility>

namespace tunefleet::tuners {

at::ScalarType scalar_type(storage::Dtype dtype) {
  using storage::Dtype;
  switch (dtype) {
    case Dtype::kI64:
      return at::kLong;
    case Dtype::kF64:
      return at::kDouble;
    case Dtype::kF32:
      return at::kFloat;
    case Dtype::kI32:
      return at::kInt;
    case Dtype::kBF16:
      return at::kBFloat16;
    case Dtype::kF16:
      return at::kHalf;
    case Dtype::kI16:
      return at::kShort;
    case Dtype::kI8:
      return at::kChar;
    case Dtype::kU8:
      return at::kByte;
    case Dtype::kBool:
      return at::kBool;
  }
  throw std::invalid_argument(c10::str("no such stored dtype: ", static_cast<int>(dtype)));
}

storage::Dtype storage_dtype(at::ScalarType type) {
  using storage::Dtype;
  for (const Dtype dtype : {Dtype::kI64, Dtype::kF64, Dtype::kF32, Dtype::kI32, Dtype::kBF16,
                            Dtype::kF16, Dtype::kI16, Dtype::kI8, Dtype::kU8, Dtype::kBool}) {
    if (scalar_type(dtype) == type) return dtype;
  }
  throw std::invalid_argument(c10::str("dtype cannot be stored in safetensors: ", type));
}

at::Tensor map_tensor(const storage::TensorView& view, std::shared_ptr<const void> keep_alive) {
  const auto address = reinterpret_cast<uintptr_t>(view.data);
  if (view.bytes == 0 || address % storage::dtype_size(view.dtype) != 0) return copy_tensor(view);
  // from_blob wants a mutable pointer; that nobody writes is this function's contract.
  return at::from_blob(
      const_cast<std::byte*>(view.data), view.shape, [keep_alive = std::move(keep_alive)](void*) {},
      at::TensorOptions().dtype(scalar_type(view.dtype)));
}

at::Tensor copy_tensor(const storage::TensorView& view) {
  at::Tensor tensor = at::empty(view.shape, at::TensorOptions().dtype(scalar_type(view.dtype)));
  if (view.bytes > 0) std::memcpy(tensor.mutable_data_ptr(), view.data, view.bytes);
  return tensor;
}

storage::TensorView view_of(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.is_cpu() || !tensor.is_contiguous()) {
    throw std::invalid_argument("tensor is not contiguous on the CPU: " + name);
  }
  storage::TensorView view;
  view.name = name;
  view.dtype = storage_dtype(tensor.scalar_type());
  view.shape = tensor.sizes().vec();
  view.data = static_cast<const std::byte*>(tensor.const_data_ptr());
  view.bytes = tensor.nbytes();
  return view;
}

std::string shape_text(at::IntArrayRef shape) { return c10::str("[", c10::Join(", ", shape), "]"); }

}  // namespace tunefleet::tuners
