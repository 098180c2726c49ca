#include "worker/kernels/rope.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor rotate(const at::Tensor& in, const at::Tensor& cos, const at::Tensor& sin,
                  float direction) {
  const auto x = in.stride(2) == 1 && in.stride(1) == in.size(2) ? in : in.contiguous();
  const int64_t half = x.size(2) / 2;
  auto out = at::empty({x.size(0), x.size(1), x.size(2)}, x.options());
  if (x.scalar_type() == at::kFloat) {
    cpu::rope(f32(x), x.stride(0), f32(cos), f32(sin), f32(out), x.size(0), x.size(1), half,
              direction);
  } else {
    cpu::rope(bf16(x), x.stride(0), f32(cos), f32(sin), bf16(out), x.size(0), x.size(1), half,
              direction);
  }
  return out;
}

class Rope : public torch::autograd::Function<Rope> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return rotate(x, cos, sin, 1.0F);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    return {rotate(grads[0], saved[0], saved[1], -1.0F), {}, {}};
  }
};

}  // namespace

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                tuners::Kernels kernels) {
  TORCH_CHECK(x.dim() == 3 && x.size(2) % 2 == 0, "rope takes [N, H, even D]: ", x.sizes());
  if (runs_cpu_loop(x, kernels)) return Rope::apply(x, cos, sin);
  const auto halves = x.to(at::kFloat).chunk(2, -1);
  const auto c = cos.unsqueeze(1);
  const auto s = sin.unsqueeze(1);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1)
      .to(x.scalar_type());
}

}  // namespace tunefleet::kernels
