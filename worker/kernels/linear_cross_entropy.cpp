#include "worker/kernels/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "tuners/gradient_place.h"
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
    const bool keeps_logits = weight_gradient && keeps_gradient_as_logits(hidden, weight);
    at::Tensor dhidden;
    at::Tensor dweight;
    variable_list kept;
    if (gradient) dhidden = at::empty_like(hidden);
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
      if (keeps_logits) {
        kept.push_back(logits);
      } else if (weight_gradient) {
        add_product(dweight, logits, part);
      }
    }
    ctx->saved_data["dhidden"] = dhidden;
    ctx->saved_data["dweight"] = dweight.defined() ? dweight.to(weight.scalar_type()) : dweight;
    ctx->saved_data["dlogits"] = c10::List<at::Tensor>(at::ArrayRef<at::Tensor>(kept));
    if (weight_gradient) ctx->save_for_backward({hidden, weight});
    return at::scalar_tensor(scale * (sums.loss - before), hidden.options().dtype(at::kFloat));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto dhidden = ctx->saved_data["dhidden"].toTensor();
    variable_list out(6);
    if (dhidden.defined()) out[0] = dhidden * grads[0].to(dhidden.scalar_type());
    const auto saved = ctx->get_saved_variables();
    if (!saved.empty() && ctx->needs_input_grad(1))
      out[1] = gradient_of_weight(ctx, saved[0], saved[1], grads[0]);
    return out;
  }

 private:
  /// A gradient of logits [M, V] is smaller than one of the weight [V, C] when there are few rows;
  /// in float32 it is also as exact, summed chunk by chunk.
  static bool keeps_gradient_as_logits(const at::Tensor& hidden, const at::Tensor& weight) {
    return weight.scalar_type() == at::kFloat && hidden.size(0) <= weight.size(1);
  }

  /// sum += logits^T part in float32; makes the sum.
  static void add_product(at::Tensor& sum, const at::Tensor& logits, const at::Tensor& part) {
    if (!sum.defined()) {
      sum = matmul_tn(logits, part).to(at::kFloat);
    } else if (logits.scalar_type() == at::kFloat) {
      sum.addmm_(logits.t(), part);
    } else {
      sum.add_(matmul_tn(logits, part));
    }
  }

  /// Undefined when it has been added to where the weight's gradients are summed up.
  static at::Tensor gradient_of_weight(AutogradContext* ctx, const at::Tensor& hidden,
                                       const at::Tensor& weight, const at::Tensor& scale) {
    auto place = tuners::gradient_place(weight);
    const auto dweight = ctx->saved_data["dweight"].toTensor();
    if (dweight.defined()) {
      if (!place.defined()) return dweight * scale.to(dweight.scalar_type());
      place.addcmul_(dweight, scale.to(dweight.scalar_type()));
      return {};
    }
    const auto scaled = hidden * scale.to(hidden.scalar_type());
    at::Tensor sum = place;
    int64_t from = 0;
    for (const at::Tensor& logits : ctx->saved_data["dlogits"].toTensorVector()) {
      add_product(sum, logits, scaled.narrow(0, from, logits.size(0)));
      from += logits.size(0);
    }
    if (!sum.defined()) return at::zeros_like(weight);
    return place.defined() ? at::Tensor() : sum;
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
