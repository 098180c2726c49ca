#include "worker/kernels/gemm.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include <optional>

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

}  // namespace

at::Tensor matmul_nt(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     Product product) {
  if (product == Product::kFast && takes_onednn(x, weight)) return onednn_linear(x, weight, bias);
  return at::linear(x, weight, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt);
}

at::Tensor matmul_nn(const at::Tensor& dy, const at::Tensor& weight) {
  if (takes_onednn(dy, weight)) return onednn_linear(dy, weight.t(), {});
  return at::mm(dy, weight);
}

}  // namespace tunefleet::kernels
