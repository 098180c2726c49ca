#include "worker/kernels/linear_token_losses.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "worker/kernels/cross_entropy_chunk.h"
#include "worker/kernels/gemm.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Calls `visit(first row, rows)` for one chunk after the other.
template <typename Visit>
void for_each_chunk(int64_t rows, int64_t chunk, const Visit& visit) {
  for (int64_t from = 0; from < rows; from += chunk) visit(from, std::min(chunk, rows - from));
}

class LinearTokenLosses : public torch::autograd::Function<LinearTokenLosses> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden,
                            const at::Tensor& weight, const at::Tensor& targets) {
    ctx->save_for_backward({hidden, weight, targets});
    auto losses = at::empty({hidden.size(0)}, hidden.options().dtype(at::kFloat));
    for_each_chunk(hidden.size(0), chunk_rows(weight), [&](int64_t from, int64_t rows) {
      auto logits = matmul_nt(hidden.narrow(0, from, rows), weight);
      const auto part = cross_entropy_of(logits, targets.narrow(0, from, rows), 1.0, false);
      losses.narrow(0, from, rows).copy_(part.losses);
    });
    return losses;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &hidden = saved[0], &weight = saved[1], &targets = saved[2];
    const auto row_weights = grads[0].unsqueeze(1);
    auto dhidden = at::empty_like(hidden);
    at::Tensor dweight;
    if (weight.requires_grad())
      dweight = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
    for_each_chunk(hidden.size(0), chunk_rows(weight), [&](int64_t from, int64_t rows) {
      const auto part = hidden.narrow(0, from, rows);
      auto logits = matmul_nt(part, weight);
      cross_entropy_of(logits, targets.narrow(0, from, rows), 1.0, true);
      logits.mul_(row_weights.narrow(0, from, rows));
      dhidden.narrow(0, from, rows).copy_(matmul_nn(logits, weight));
      if (dweight.defined()) dweight.add_(logits.t().matmul(part));
    });
    return {dhidden, dweight.defined() ? dweight.to(weight.scalar_type()) : dweight, {}};
  }
};

}  // namespace

at::Tensor linear_token_losses(const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& targets) {
  return LinearTokenLosses::apply(hidden, weight, targets);
}

at::Tensor token_losses(const at::Tensor& logits, const at::Tensor& targets) {
  return at::cross_entropy_loss(logits.to(at::kFloat), targets, {}, at::Reduction::None);
}

}  // namespace tunefleet::kernels
