#include "worker/kernels/swiglu.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_in,
                            const at::Tensor& up_in) {
    const auto gate = gate_in.contiguous();
    const auto up = up_in.contiguous();
    auto h = at::empty_like(gate);
    if (gate.scalar_type() == at::kFloat) {
      cpu::swiglu_forward(f32(gate), f32(up), f32(h), gate.numel());
    } else {
      cpu::swiglu_forward(bf16(gate), bf16(up), bf16(h), gate.numel());
    }
    ctx->save_for_backward({gate, up});
    return h;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto dh = grads[0].contiguous();
    auto dgate = at::empty_like(saved[0]);
    auto dup = at::empty_like(saved[1]);
    if (dh.scalar_type() == at::kFloat) {
      cpu::swiglu_backward(f32(saved[0]), f32(saved[1]), f32(dh), f32(dgate), f32(dup), dh.numel());
    } else {
      cpu::swiglu_backward(bf16(saved[0]), bf16(saved[1]), bf16(dh), bf16(dgate), bf16(dup),
                           dh.numel());
    }
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up, tuners::Kernels kernels) {
  if (runs_cpu_loop(gate, kernels)) return SwiGlu::apply(gate, up);
  return at::silu(gate) * up;
}

}  // namespace tunefleet::kernels
