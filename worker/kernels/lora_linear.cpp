#include "worker/kernels/lora_linear.h"

#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <utility>

#include "worker/kernels/dropout.h"
#include "worker/kernels/gemm.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What backward needs beside tensors.
struct Call : torch::CustomClassHolder {
  struct Update {
    double scaling;
    double dropout;
    uint64_t key;
  };
  std::vector<Update> updates;
  bool bias = false;
  Product product = Product::kFast;
  at::Tensor token_keys;
  /// Number of A_i among the inputs; B_i is the next.
  size_t factor(size_t i) const { return 2 + (bias ? 1 : 0) + 2 * i; }
};
using CallPointer = c10::intrusive_ptr<Call>;

at::Tensor input_of(const Call& call, size_t i, const at::Tensor& x) {
  const auto& update = call.updates[i];
  return update.dropout > 0.0 ? dropout(x, call.token_keys, update.key, update.dropout) : x;
}

/// Inputs in order: x, weight, bias if there is one, A_0, B_0, A_1, B_1, …
class LoraLinear : public torch::autograd::Function<LoraLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            at::TensorList others, const CallPointer& call) {
    auto y = matmul_nt(x, weight, call->bias ? others.front() : at::Tensor(), call->product);
    variable_list saved{x, weight};
    for (size_t i = 0; i < call->updates.size(); ++i) {
      const auto& a = others[call->factor(i) - 2];
      const auto& b = others[call->factor(i) - 1];
      const auto t = input_of(*call, i, x).matmul(a.to(x.scalar_type()).t());
      y.addmm_(t, b.to(x.scalar_type()).t(), 1, call->updates[i].scaling);
      saved.insert(saved.end(), {a, b, t});
    }
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto call = c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto dy = grads[0].contiguous();
    variable_list out(call->factor(call->updates.size()) + 1);
    at::Tensor dx;
    if (ctx->needs_input_grad(0)) dx = matmul_nn(dy, weight);
    if (ctx->needs_input_grad(1)) out[1] = dy.t().matmul(x);
    if (call->bias && ctx->needs_input_grad(2)) out[2] = dy.sum(0);
    for (size_t i = 0; i < call->updates.size(); ++i) {
      const auto& a = saved[2 + 3 * i];
      const auto& b = saved[3 + 3 * i];
      const auto& t = saved[4 + 3 * i];
      const double scaling = call->updates[i].scaling;
      const auto g = dy.matmul(b.to(dy.scalar_type())).mul_(scaling);
      const size_t factor = call->factor(i);
      if (ctx->needs_input_grad(factor)) {
        out[factor] = g.t().matmul(input_of(*call, i, x)).to(a.scalar_type());
      }
      if (ctx->needs_input_grad(factor + 1)) {
        out[factor + 1] = dy.t().matmul(t).to(b.scalar_type()).mul_(scaling);
      }
      if (!dx.defined()) continue;
      const auto narrow = a.to(dy.scalar_type());
      if (call->updates[i].dropout > 0.0) {
        dx.add_(input_of(*call, i, g.matmul(narrow)));
      } else {
        dx.addmm_(g, narrow);
      }
    }
    out[0] = dx;
    return out;
  }
};

}  // namespace

at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       std::vector<tuners::LowRankUpdate> updates,
                       const tuners::ForwardContext& context) {
  auto call = c10::make_intrusive<Call>();
  call->token_keys = context.token_keys;
  call->bias = bias.defined();
  // Outside training the digits count for more than the time: logits compare with transformers'.
  call->product = context.training ? Product::kFast : Product::kReference;
  std::vector<at::Tensor> others;
  others.reserve(2 * updates.size() + 1);
  if (call->bias) others.push_back(bias);
  for (auto& update : updates) {
    const double p = context.training ? update.dropout : 0.0;
    call->updates.push_back({update.scaling, p, dropout_key(context, update.stream)});
    others.push_back(std::move(update.a));
    others.push_back(std::move(update.b));
  }
  return LoraLinear::apply(x, weight, at::TensorList(others), call);
}

}  // namespace tunefleet::kernels
