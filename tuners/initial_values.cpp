#include "tuners/initial_values.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace tunefleet::tuners {

at::Tensor uniform_values(at::IntArrayRef shape, double bound, RandomStream stream) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  auto* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    values[i] = static_cast<float>((2.0 * stream.uniform() - 1.0) * bound);
  }
  return tensor;
}

at::Tensor normal_values(at::IntArrayRef shape, double deviation, RandomStream stream) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  auto* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    values[i] = static_cast<float>(stream.normal() * deviation);
  }
  return tensor;
}

at::Tensor kaiming_values(at::IntArrayRef shape, int64_t fan_in, RandomStream stream) {
  return uniform_values(shape, 1.0 / std::sqrt(static_cast<double>(fan_in)), stream);
}

at::Tensor xavier_values(at::IntArrayRef shape, RandomStream stream) {
  TORCH_CHECK(shape.size() >= 2, "xavier initial values are of matrices");
  int64_t field = 1;
  for (size_t i = 2; i < shape.size(); ++i) field *= shape[i];
  const auto fans = static_cast<double>((shape[0] + shape[1]) * field);
  return uniform_values(shape, std::sqrt(6.0 / fans), stream);
}

}  // namespace tunefleet::tuners
