#include "worker/models/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace tunefleet::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Holder : torch::CustomClassHolder {
  explicit Holder(Segment s) : segment(std::move(s)) {}
  Segment segment;
};

class Checkpoint : public torch::autograd::Function<Checkpoint> {
 public:
  static at::Tensor forward(AutogradContext* ctx, at::TensorList inputs,
                            const at::Tensor& /*anchor*/,
                            const c10::intrusive_ptr<Holder>& holder) {
    ctx->save_for_backward(inputs.vec());
    ctx->saved_data["holder"] = c10::IValue::make_capsule(holder);
    const at::NoGradGuard no_grad;
    return holder->segment(inputs.vec());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["holder"].toCapsule());
    auto inputs = ctx->get_saved_variables();
    for (size_t i = 0; i < inputs.size(); ++i)
      inputs[i] = inputs[i].detach().requires_grad_(ctx->needs_input_grad(i));
    at::Tensor y;
    {
      const at::AutoGradMode grad(true);
      y = holder->segment(inputs);
    }
    // A segment in which nothing trains, behind inputs that need no gradient, has none to give.
    if (y.requires_grad()) torch::autograd::backward({y}, {grads[0]});
    variable_list out;
    for (const auto& input : inputs)
      out.push_back(input.requires_grad() ? input.grad() : at::Tensor());
    out.resize(inputs.size() + 2);
    return out;
  }
};

}  // namespace

at::Tensor checkpoint(Segment segment, const std::vector<at::Tensor>& inputs,
                      const at::Tensor& anchor) {
  if (!at::GradMode::is_enabled()) return segment(inputs);
  return Checkpoint::apply(at::TensorList(inputs), anchor,
                           c10::make_intrusive<Holder>(std::move(segment)));
}

}  // namespace tunefleet::models
