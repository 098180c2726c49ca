#include "tuners/quantization/int8_weight.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

namespace tunefleet::tuners {
namespace {

at::Tensor make_stand_in(const at::Tensor& value) {
  const at::NoGradGuard no_grad;
  const auto one = at::zeros({1}, value.options().requires_grad(false));
  return one.expand(value.sizes()).set_requires_grad(true);
}

}  // namespace

Int8Weight::Int8Weight(const at::Tensor& value)
    : groups_(quantize_groups(value, 8, kGroup)),
      dtype_(value.scalar_type()),
      stand_in_(make_stand_in(value)) {}

void Int8Weight::write(const at::Tensor& value, uint64_t key) {
  TORCH_CHECK(value.sizes() == shape(), "an 8-bit weight keeps its shape: ", value.sizes(),
              " instead of ", shape());
  requantize(value, key, groups_);
}

void Int8Weight::assign(const at::Tensor& value) {
  TORCH_CHECK(value.sizes() == shape(), "an 8-bit weight keeps its shape: ", value.sizes(),
              " instead of ", shape());
  const at::NoGradGuard no_grad;
  const auto next = quantize_groups(value, groups_.bits, groups_.group);
  groups_.codes.copy_(next.codes);
  groups_.scales.copy_(next.scales);
  groups_.zeros.copy_(next.zeros);
}

std::vector<std::pair<std::string, at::Tensor>> Int8Weight::parts() const {
  return {{"codes", groups_.codes}, {"scales", groups_.scales}, {"zeros", groups_.zeros}};
}

}  // namespace tunefleet::tuners
