#include "tuners/maps/weight_map.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace tunefleet::tuners {
namespace {

class FunctionMap : public WeightMap {
 public:
  explicit FunctionMap(std::function<at::Tensor(const Tensors&)> dense)
      : dense_(std::move(dense)) {}

  at::Tensor added_to(const at::Tensor& weight, const Tensors& values) const override {
    const at::NoGradGuard no_grad;
    return dense_(values).to(weight.scalar_type()).add_(weight);
  }

  Tensors gradients(const at::Tensor& grad, const Tensors& values) const override {
    Tensors leaves;
    for (const auto& value : values) leaves.push_back(value.detach().requires_grad_(true));
    const at::AutoGradMode recorded(true);
    return torch::autograd::grad({dense_(leaves)}, leaves, {grad});
  }

 private:
  std::function<at::Tensor(const Tensors&)> dense_;
};

}  // namespace

std::shared_ptr<const WeightMap> weight_map(
    std::function<at::Tensor(const WeightMap::Tensors&)> dense) {
  return std::make_shared<FunctionMap>(std::move(dense));
}

}  // namespace tunefleet::tuners
