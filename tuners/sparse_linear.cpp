#include "tuners/sparse_linear.h"

#include <ATen/ops/matmul.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// How a pattern travels through autograd.
struct Holder : torch::CustomClassHolder {
  explicit Holder(std::shared_ptr<const SparsePattern> held) : pattern(std::move(held)) {}
  std::shared_ptr<const SparsePattern> pattern;
};

class SparseLinear : public torch::autograd::Function<SparseLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& values,
                            const c10::intrusive_ptr<Holder>& holder) {
    ctx->save_for_backward({x, values});
    ctx->saved_data["pattern"] = c10::IValue::make_capsule(holder);
    return holder->pattern->product(x, values);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["pattern"].toCapsule());
    const SparsePattern& pattern = *holder->pattern;
    variable_list out(3);
    if (ctx->needs_input_grad(0))
      out[0] = pattern.transposed_product(grads[0], saved[1]).to(x.scalar_type());
    if (ctx->needs_input_grad(1)) out[1] = pattern.sampled_product(grads[0], x);
    return out;
  }
};

}  // namespace

at::Tensor sparse_linear(const at::Tensor& x, const at::Tensor& values,
                         const std::shared_ptr<const SparsePattern>& pattern) {
  if (x.is_cpu()) return SparseLinear::apply(x, values, c10::make_intrusive<Holder>(pattern));
  return x.to(at::kFloat).matmul(pattern->dense(values).t());
}

}  // namespace tunefleet::tuners
