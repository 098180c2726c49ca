#include "tuners/quantization/int8_linear.h"

#include <ATen/ops/linear.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "tuners/gradient_place.h"

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Holder : torch::CustomClassHolder {
  explicit Holder(std::shared_ptr<const Int8Weight> w) : weight(std::move(w)) {}
  std::shared_ptr<const Int8Weight> weight;
};

/// Inputs: x, the stand-in, the bias if there is one.
class Int8Linear : public torch::autograd::Function<Int8Linear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& stand_in,
                            at::TensorList bias, const c10::intrusive_ptr<Holder>& holder) {
    ctx->save_for_backward({x, stand_in});
    ctx->saved_data["holder"] = c10::IValue::make_capsule(holder);
    ctx->saved_data["bias"] = !bias.empty();
    const auto weight = holder->weight->read(x.scalar_type());
    return bias.empty() ? at::linear(x, weight) : at::linear(x, weight, bias.front());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["holder"].toCapsule());
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &stand_in = saved[1];
    const auto& dy = grads[0];
    const bool has_bias = ctx->saved_data["bias"].toBool();
    variable_list out(has_bias ? 4 : 3);
    if (ctx->needs_input_grad(0)) out[0] = dy.matmul(holder->weight->read(dy.scalar_type()));
    if (ctx->needs_input_grad(1)) {
      const auto dtype = stand_in.scalar_type();
      out[1] =
          dtype == x.scalar_type() ? weight_gradient(stand_in, dy, x) : dy.t().matmul(x).to(dtype);
    }
    if (has_bias && ctx->needs_input_grad(2)) out[2] = dy.sum(0);
    return out;
  }
};

}  // namespace

at::Tensor int8_linear(const at::Tensor& x, const std::shared_ptr<const Int8Weight>& weight,
                       const at::Tensor& bias) {
  std::vector<at::Tensor> biases;
  if (bias.defined()) biases.push_back(bias);
  return Int8Linear::apply(x, weight->stand_in(), at::TensorList(biases),
                           c10::make_intrusive<Holder>(weight));
}

}  // namespace tunefleet::tuners
