#include "worker/models/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace tunefleet::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Segment = std::function<at::Tensor(const at::Tensor&)>;

struct Holder : torch::CustomClassHolder {
  explicit Holder(Segment s) : segment(std::move(s)) {}
  Segment segment;
};

class Checkpoint : public torch::autograd::Function<Checkpoint> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& /*anchor*/,
                            const c10::intrusive_ptr<Holder>& holder) {
    ctx->save_for_backward({x});
    ctx->saved_data["holder"] = c10::IValue::make_capsule(holder);
    const at::NoGradGuard no_grad;
    return holder->segment(x);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["holder"].toCapsule());
    const auto saved = ctx->get_saved_variables()[0];
    const bool wants_input = ctx->needs_input_grad(0);
    auto x = saved.detach();
    x.requires_grad_(wants_input);
    at::Tensor y;
    {
      const at::AutoGradMode grad(true);
      y = holder->segment(x);
    }
    torch::autograd::backward({y}, {grads[0]});
    return {wants_input ? x.grad() : at::Tensor(), {}, {}};
  }
};

}  // namespace

at::Tensor checkpoint(Segment segment, const at::Tensor& x, const at::Tensor& anchor) {
  if (!at::GradMode::is_enabled()) return segment(x);
  return Checkpoint::apply(x, anchor, c10::make_intrusive<Holder>(std::move(segment)));
}

}  // namespace tunefleet::models
