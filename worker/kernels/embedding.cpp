#include "worker/kernels/embedding.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "tuners/gradient_place.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class Embedding : public torch::autograd::Function<Embedding> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& weight, const at::Tensor& ids) {
    ctx->save_for_backward({weight, ids});
    return at::embedding(weight, ids);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &weight = saved[0], &ids = saved[1];
    // There, atomic additions would come in another order each time.
    if (!weight.is_cpu())
      return {at::embedding_dense_backward(grads[0], ids, weight.size(0), -1, false), {}};
    // The rows of one token are summed in float32; embedding_dense_backward would lose small ones.
    const auto place = tuners::gradient_place(weight);
    auto sum = place.defined() ? place : at::zeros_like(weight);
    sum.index_add_(0, ids, grads[0]);
    return {place.defined() ? at::Tensor() : sum, {}};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& ids) {
  if (!at::GradMode::is_enabled() || !weight.requires_grad()) return at::embedding(weight, ids);
  return Embedding::apply(weight, ids);
}

}  // namespace tunefleet::kernels
