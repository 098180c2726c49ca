#include "worker/kernels/dora_linear.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <tuple>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"
#include "worker/kernels/dropout.h"
#include "worker/kernels/gemm.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What backward needs beside tensors.
struct Call : torch::CustomClassHolder {
  double scaling = 1.0;
  double dropout = 0.0;
  uint64_t key = 0;
  Product product = Product::kFast;
  at::Tensor token_keys;
  bool bias = false;
  bool from_y = false;  ///< The rescaled part is y / c: it is not kept beside y.

  at::Tensor drop(const at::Tensor& x) const {
    return dropout > 0.0 ? kernels::dropout(x, token_keys, key, dropout) : x;
  }
};
using CallPointer = c10::intrusive_ptr<Call>;

/// u * scale + bias by columns; `bias` float32 or undefined. Rounded once. With `in_place` u's
/// memory may become the result's.
at::Tensor rescaled(const at::Tensor& u, const at::Tensor& scale, const at::Tensor& bias,
                    bool in_place) {
  if (!has_cpu_loop(u)) {
    const auto y = u.mul(scale);
    return (bias.defined() ? y.add(bias) : y).to(u.scalar_type());
  }
  auto y = in_place ? u : at::empty_like(u);
  const float* b = bias.defined() ? f32(bias) : nullptr;
  if (u.scalar_type() == at::kFloat) {
    cpu::rescale(f32(u), f32(scale), b, f32(y), u.size(0), u.size(1));
  } else {
    cpu::rescale(bf16(u), f32(scale), b, bf16(y), u.size(0), u.size(1));
  }
  return y;
}

/// dy * scale by columns, and the columns' sums of dy * u in float32.
std::pair<at::Tensor, at::Tensor> rescaled_backward(const at::Tensor& dy, const at::Tensor& u,
                                                    const at::Tensor& scale) {
  if (!has_cpu_loop(dy)) {
    return {dy.mul(scale).to(dy.scalar_type()), dy.mul(u).sum(0, false, at::kFloat)};
  }
  auto du = at::empty_like(dy);
  auto sums = at::zeros({dy.size(1)}, dy.options().dtype(at::kFloat));
  if (dy.scalar_type() == at::kFloat) {
    cpu::rescale_backward(f32(dy), f32(u), f32(scale), f32(du), f32(sums), dy.size(0), dy.size(1));
  } else {
    cpu::rescale_backward(bf16(dy), bf16(u), f32(scale), bf16(du), f32(sums), dy.size(0),
                          dy.size(1));
  }
  return {du, sums};
}

class DoraLinear : public torch::autograd::Function<DoraLinear> {
 public:
  /// `others`: A, B, magnitude, norm, and the bias if there is one.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            at::TensorList others, const CallPointer& call) {
    const auto dtype = x.scalar_type();
    const auto scale = others[2].div(others[3]);
    const auto bias = call->bias ? others[4].to(at::kFloat) : at::Tensor();
    const auto dropped = call->drop(x);
    auto u = matmul_nt(dropped, weight, {}, call->product);
    const auto plain =
        call->dropout > 0.0 ? matmul_nt(x, weight, {}, call->product).sub_(u) : at::Tensor();
    const auto t = dropped.matmul(others[0].to(dtype).t());
    u.addmm_(t, others[1].to(dtype).t(), 1, call->scaling);
    call->from_y = !plain.defined() && !call->bias && x.is_cpu() && scale.ne(0).all().item<bool>();
    auto y = rescaled(u, scale, bias, call->from_y);
    if (plain.defined()) y.add_(plain);
    ctx->save_for_backward(
        {x, weight, others[0], others[1], scale, others[3], t, call->from_y ? y : u});
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto call = c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &a = saved[2], &b = saved[3], &scale = saved[4],
               &t = saved[6];
    const auto dy = grads[0].contiguous();
    const auto [du, sums] = rescaled_backward(dy, saved[7], scale);
    const auto dtype = dy.scalar_type();
    const auto g = du.matmul(b.mul(call->scaling).to(dtype));
    variable_list out(call->bias ? 8 : 7);
    if (ctx->needs_input_grad(0)) out[0] = dx_of(*call, dy, du, weight, g.matmul(a.to(dtype)));
    if (ctx->needs_input_grad(1)) {
      out[1] = call->dropout == 0.0 ? du.t().matmul(x)
                                    : dy.t().matmul(x).add_(du.sub(dy).t().matmul(call->drop(x)));
    }
    if (ctx->needs_input_grad(2)) out[2] = g.t().matmul(call->drop(x)).to(a.scalar_type());
    if (ctx->needs_input_grad(3)) out[3] = du.t().matmul(t).to(b.scalar_type()).mul_(call->scaling);
    if (ctx->needs_input_grad(4)) {
      const auto dscale = call->from_y ? sums.div(scale) : sums;
      out[4] = dscale.div_(saved[5]);
    }
    if (call->bias && ctx->needs_input_grad(6)) out[6] = dy.sum(0);
    return out;
  }

 private:
  static at::Tensor dx_of(const Call& call, const at::Tensor& dy, const at::Tensor& du,
                          const at::Tensor& weight, const at::Tensor& low) {
    if (call.dropout == 0.0) return matmul_nn(du, weight).add_(low);
    const auto dropped = matmul_nn(du.sub(dy), weight).add_(low);
    return matmul_nn(dy, weight).add_(call.drop(dropped));
  }
};

}  // namespace

at::Tensor dora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       const tuners::LowRankUpdate& update, const tuners::ForwardContext& context) {
  auto call = c10::make_intrusive<Call>();
  call->scaling = update.scaling;
  call->dropout = context.training ? update.dropout : 0.0;
  call->key = dropout_key(context, update.stream);
  call->token_keys = context.token_keys;
  call->product = context.training ? Product::kFast : Product::kReference;
  call->bias = bias.defined();
  variable_list others{update.a, update.b, update.magnitude, update.norm};
  if (call->bias) others.push_back(bias);
  return DoraLinear::apply(x, weight, at::TensorList(others), call);
}

}  // namespace tunefleet::kernels
