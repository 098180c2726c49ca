#include "worker/kernels/norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& weight,
                            double eps) {
    const auto x = input.contiguous();
    const int64_t width = x.size(-1);
    const int64_t rows = x.numel() / std::max<int64_t>(width, 1);
    auto y = at::empty_like(x);
    auto inv = at::empty({rows}, x.options().dtype(at::kFloat));
    if (x.scalar_type() == at::kFloat) {
      cpu::rms_norm_forward(f32(x), f32(weight), f32(y), f32(inv), rows, width,
                            static_cast<float>(eps));
    } else {
      cpu::rms_norm_forward(bf16(x), bf16(weight), bf16(y), f32(inv), rows, width,
                            static_cast<float>(eps));
    }
    ctx->save_for_backward({x, weight, inv});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto dy = grads[0].contiguous();
    auto dx = at::empty_like(x);
    at::Tensor dweight;
    if (ctx->needs_input_grad(1)) dweight = at::zeros({x.size(-1)}, x.options().dtype(at::kFloat));
    float* dw = dweight.defined() ? f32(dweight) : nullptr;
    const int64_t rows = saved[2].numel();
    if (x.scalar_type() == at::kFloat) {
      cpu::rms_norm_backward(f32(x), f32(weight), f32(dy), f32(saved[2]), f32(dx), dw, rows,
                             x.size(-1));
    } else {
      cpu::rms_norm_backward(bf16(x), bf16(weight), bf16(dy), f32(saved[2]), bf16(dx), dw, rows,
                             x.size(-1));
    }
    return {dx, dweight.defined() ? dweight.to(weight.scalar_type()) : dweight, {}};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                    tuners::Kernels kernels) {
  if (weight.scalar_type() != x.scalar_type())
    return rms_norm(x, weight.to(x.scalar_type()), eps, kernels);
  if (runs_cpu_loop(x, kernels)) return RmsNorm::apply(x, weight, eps);
  const auto wide = x.to(at::kFloat);
  return weight *
         (wide * at::rsqrt(wide.pow(2).mean(-1, /*keepdim=*/true) + eps)).to(x.scalar_type());
}

}  // namespace tunefleet::kernels
