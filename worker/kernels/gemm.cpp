#include "worker/kernels/gemm.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include <optional>

#include "worker/kernels/cpu_pointers.h"
#include "worker/kernels/gemm_loops.h"

namespace tunefleet::kernels {
namespace {

bool takes_onednn(const at::Tensor& x, const at::Tensor& weight) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         x.numel() > 0 && weight.numel() > 4096;
}

/// x W^T + b by oneDNN; `weight` may be a transposed view.
at::Tensor onednn_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  using Linear = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                            std::string_view, c10::List<std::optional<at::Scalar>>,
                            std::optional<std::string_view>);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                             .typed<Linear>();
  return op.call(x, weight, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt, "none",
                 c10::List<std::optional<at::Scalar>>(), "");
}

constexpr int64_t kFewRows = 16;  ///< Below, reading the weight takes longest: as it is.

at::Tensor wide_nt(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
              "no product of these shapes: ", x.sizes(), ", ", weight.sizes(), " transposed");
  const auto in = x.contiguous();
  const auto w = weight.contiguous();
  const auto wide_bias = bias.defined() ? bias.to(at::kFloat).contiguous() : at::Tensor();
  auto y = at::empty({in.size(0), w.size(0)}, in.options());
  cpu::gemm_nt(bf16(in), bf16(w), wide_bias.defined() ? f32(wide_bias) : nullptr, bf16(y),
               in.size(0), w.size(0), w.size(1));
  return y;
}

at::Tensor wide_nn(const at::Tensor& dy, const at::Tensor& weight) {
  TORCH_CHECK(dy.dim() == 2 && weight.dim() == 2 && dy.size(1) == weight.size(0),
              "no product of these shapes: ", dy.sizes(), ", ", weight.sizes());
  const auto grad = dy.contiguous();
  const auto w = weight.contiguous();
  auto dx = at::empty({grad.size(0), w.size(1)}, grad.options());
  cpu::gemm_nn(bf16(grad), bf16(w), bf16(dx), grad.size(0), w.size(0), w.size(1));
  return dx;
}

at::Tensor wide_tn(const at::Tensor& dy, const at::Tensor& x) {
  TORCH_CHECK(dy.dim() == 2 && x.dim() == 2 && dy.size(0) == x.size(0),
              "no product of these shapes: ", dy.sizes(), " transposed, ", x.sizes());
  const auto grad = dy.contiguous();
  const auto in = x.contiguous();
  auto dw = at::empty({grad.size(1), in.size(1)}, grad.options());
  cpu::gemm_tn(bf16(grad), bf16(in), bf16(dw), grad.size(0), grad.size(1), in.size(1));
  return dw;
}

}  // namespace

bool runs_gemm_loops(const at::Tensor& a, const at::Tensor& b) {
  return a.is_cpu() && a.scalar_type() == at::kBFloat16 && b.scalar_type() == at::kBFloat16 &&
         a.size(0) >= kFewRows && b.numel() > 0 && bfloat16_products_are_slow();
}

bool bfloat16_products_are_slow() {
#if defined(__x86_64__)
  static const bool slow = !__builtin_cpu_supports("amx-bf16") &&
                           !(__builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd"));
  return slow;
#else
  return false;
#endif
}

at::Tensor matmul_nt(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     Product product) {
  if (product == Product::kFast && takes_onednn(x, weight)) return onednn_linear(x, weight, bias);
  if (product == Product::kFast && runs_gemm_loops(x, weight)) return wide_nt(x, weight, bias);
  return at::linear(x, weight, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt);
}

at::Tensor matmul_tn(const at::Tensor& dy, const at::Tensor& x) {
  return runs_gemm_loops(dy, x) ? wide_tn(dy, x) : at::mm(dy.t(), x);
}

at::Tensor matmul_nn(const at::Tensor& dy, const at::Tensor& weight) {
  if (takes_onednn(dy, weight)) return onednn_linear(dy, weight.t(), {});
  if (runs_gemm_loops(dy, weight)) return wide_nn(dy, weight);
  return at::mm(dy, weight);
}

}  // namespace tunefleet::kernels
