#include "worker/kernels/embedding.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
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
    auto place = tuners::gradient_place(weight);
    // Elsewhere atomic additions would come in another order each time.
    if (!place.defined() || !place.is_cpu())
      return {at::embedding_dense_backward(grads[0], ids, weight.size(0), -1, false), {}};
    place.index_add_(0, ids, grads[0]);
    return {at::Tensor(), {}};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& ids) {
  if (!at::GradMode::is_enabled() || !weight.requires_grad()) return at::embedding(weight, ids);
  return Embedding::apply(weight, ids);
}

}  // namespace tunefleet::kernels
