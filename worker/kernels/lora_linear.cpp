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
  at::Tensor token_keys;
};
using CallPointer = c10::intrusive_ptr<Call>;

at::Tensor input_of(const Call& call, size_t i, const at::Tensor& x) {
  const auto& update = call.updates[i];
  return update.dropout > 0.0 ? dropout(x, call.token_keys, update.key, update.dropout) : x;
}

/// Inputs in order: x, weight, bias, A_0, B_0, A_1, B_1, …
class LoraLinear : public torch::autograd::Function<LoraLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const std::vector<at::Tensor>& factors, const CallPointer& call) {
    auto y = matmul_nt(x, weight, bias);
    variable_list saved{x, weight};
    for (size_t i = 0; i < call->updates.size(); ++i) {
      const auto a = factors[2 * i].to(x.scalar_type());
      const auto b = factors[2 * i + 1].to(x.scalar_type());
      const auto t = input_of(*call, i, x).matmul(a.t());
      y.addmm_(t, b.t(), 1, call->updates[i].scaling);
      saved.insert(saved.end(), {factors[2 * i], factors[2 * i + 1], t});
    }
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["call"] = call;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto call = ctx->saved_data["call"].toCustomClass<Call>();
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto dy = grads[0].contiguous();
    variable_list out(3 + 2 * call->updates.size() + 1);
    at::Tensor dx;
    if (ctx->needs_input_grad(0)) dx = matmul_nn(dy, weight);
    if (ctx->needs_input_grad(1)) out[1] = dy.t().matmul(x);
    if (ctx->needs_input_grad(2)) out[2] = dy.sum(0);
    for (size_t i = 0; i < call->updates.size(); ++i) {
      const auto& a = saved[2 + 3 * i];
      const auto& b = saved[3 + 3 * i];
      const auto& t = saved[4 + 3 * i];
      const double scaling = call->updates[i].scaling;
      const auto g = dy.matmul(b.to(dy.scalar_type())).mul_(scaling);
      if (ctx->needs_input_grad(3 + 2 * i)) {
        out[3 + 2 * i] = g.t().matmul(input_of(*call, i, x)).to(a.scalar_type());
      }
      if (ctx->needs_input_grad(4 + 2 * i)) {
        out[4 + 2 * i] = dy.t().matmul(t).to(b.scalar_type()).mul_(scaling);
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
                       std::vector<tuners::LowRankUpdate> updates, const tuners::ForwardContext& context) {
  auto call = c10::make_intrusive<Call>();
  call->token_keys = context.token_keys;
  std::vector<at::Tensor> factors;
  factors.reserve(2 * updates.size());
  for (auto& update : updates) {
    const double p = context.training ? update.dropout : 0.0;
    call->updates.push_back({update.scaling, p, dropout_key(context, update.stream)});
    factors.push_back(std::move(update.a));
    factors.push_back(std::move(update.b));
  }
  return LoraLinear::apply(x, weight, bias, factors, call);
}

}  // namespace tunefleet::kernels
