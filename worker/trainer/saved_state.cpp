#include "worker/trainer/saved_state.h"

#include <c10/util/StringUtil.h>

#include <stdexcept>

namespace tunefleet::trainer {

SavedState::SavedState(const Optimizer::NamedTensors& tensors)
    : left_(tensors.begin(), tensors.end()) {}

at::Tensor SavedState::take(const std::string& name, at::Device device) {
  const auto it = left_.find(name);
  if (it == left_.end()) throw std::invalid_argument("the saved state lacks a tensor: " + name);
  at::Tensor value = it->second.to(device, it->second.scalar_type(), /*non_blocking=*/false,
                                   /*copy=*/true);
  left_.erase(it);
  return value;
}

at::Tensor SavedState::take(const std::string& name, at::IntArrayRef shape, at::Device device) {
  at::Tensor value = take(name, device);
  if (value.sizes() != shape) {
    throw std::invalid_argument("the saved state has another shape: " + name +
                                c10::str(", ", value.sizes(), " instead of ", shape));
  }
  return value;
}

double SavedState::take_number(const std::string& name) {
  return take(name, at::IntArrayRef{}, at::kCPU).item<double>();
}

void SavedState::check_all_taken() const {
  if (left_.empty()) return;
  throw std::invalid_argument("the saved state is of another optimizer or of other tensors: " +
                              left_.begin()->first);
}

int64_t Optimizer::state_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : state()) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

}  // namespace tunefleet::trainer
