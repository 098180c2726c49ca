#include "worker/kernels/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "worker/kernels/cross_entropy_chunk.h"
#include "worker/kernels/gemm.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden,
                            const at::Tensor& weight, const at::Tensor& targets, double scale,
                            bool gradient, int64_t sums_address) {
    auto& sums = *reinterpret_cast<CrossEntropySums*>(sums_address);
    const double before = sums.loss;
    const int64_t chunk = chunk_rows(weight);
    const bool weight_gradient = gradient && weight.requires_grad();
    at::Tensor dhidden;
    at::Tensor dweight;
    if (gradient) dhidden = at::empty_like(hidden);
    if (weight_gradient) dweight = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
    for (int64_t from = 0; from < hidden.size(0); from += chunk) {
      const int64_t rows = std::min(chunk, hidden.size(0) - from);
      const auto part = hidden.narrow(0, from, rows);
      auto logits = matmul_nt(part, weight);
      const auto part_losses =
          cross_entropy_of(logits, targets.narrow(0, from, rows), scale, gradient);
      sums.loss += part_losses.losses.sum(at::kDouble).item<double>();
      sums.correct += part_losses.correct;
      sums.rows += rows;
      if (gradient) dhidden.narrow(0, from, rows).copy_(matmul_nn(logits, weight));
      if (weight_gradient) dweight.add_(logits.t().matmul(part));
    }
    ctx->saved_data["dhidden"] = dhidden;
    ctx->saved_data["dweight"] = dweight.defined() ? dweight.to(weight.scalar_type()) : dweight;
    return at::scalar_tensor(scale * (sums.loss - before), hidden.options().dtype(at::kFloat));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto scaled = [&](const char* name) {
      const auto value = ctx->saved_data[name].toTensor();
      return value.defined() ? value * grads[0].to(value.scalar_type()) : value;
    };
    return {scaled("dhidden"), scaled("dweight"), {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                const at::Tensor& targets, double scale, CrossEntropySums* sums) {
  CrossEntropySums local;
  const bool gradient =
      at::GradMode::is_enabled() && (hidden.requires_grad() || weight.requires_grad());
  const auto loss =
      LinearCrossEntropy::apply(hidden, weight, targets, scale, gradient,
                                reinterpret_cast<int64_t>(sums != nullptr ? sums : &local));
  return loss;
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double scale,
                         CrossEntropySums* sums) {
  const auto wide = logits.to(at::kFloat);
  const auto total = at::cross_entropy_loss(wide, targets, {}, at::Reduction::Sum);
  if (sums != nullptr) {
    sums->loss += total.item<double>();
    sums->rows += targets.size(0);
    sums->correct += wide.detach().argmax(-1).eq(targets).sum().item<int64_t>();
  }
  return total * scale;
}

}  // namespace tunefleet::kernels
