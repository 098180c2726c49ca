#include "worker/kernels/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

namespace tunefleet::kernels {
namespace {

/// [B*T, KH, D] -> [B, H, T, D], each key/value head repeated for its group of query heads.
at::Tensor by_head(const at::Tensor& x, int64_t batch, int64_t heads) {
  const int64_t tokens = x.size(0) / batch;
  auto split = x.reshape({batch, tokens, x.size(1), x.size(2)}).transpose(1, 2);
  const int64_t group = heads / x.size(1);
  if (group == 1) return split;
  return split.unsqueeze(2)
      .expand({batch, x.size(1), group, tokens, x.size(2)})
      .reshape({batch, heads, tokens, x.size(2)});
}

/// bool [T, S]: query t (token S - T + t) sees key s.
at::Tensor visible(int64_t queries, int64_t keys, int64_t window, at::Device device) {
  const auto q = at::arange(keys - queries, keys, device).unsqueeze(1);
  const auto k = at::arange(keys, device).unsqueeze(0);
  auto mask = k.le(q);
  return window > 0 ? mask.logical_and(k.gt(q - window)) : mask;
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Causal attention on the CPU for training, as a node that keeps keys and values once for each
/// group of query heads. Where bfloat16 products are slow it multiplies float32.
class TrainedAttention : public torch::autograd::Function<TrainedAttention> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, int64_t batch, double scale) {
    const int64_t heads = q.size(1);
    const auto [y, sums] = at::_scaled_dot_product_flash_attention_for_cpu(
        taken(q, batch, heads), taken(k, batch, heads), taken(v, batch, heads), 0.0,
        /*is_causal=*/true, {}, scale);
    auto rows = y.transpose(1, 2).reshape({q.size(0), heads * q.size(2)}).to(q.scalar_type());
    ctx->save_for_backward({q, k, v, rows, sums});
    ctx->saved_data["batch"] = batch;
    ctx->saved_data["scale"] = scale;
    return rows;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2];
    const int64_t batch = ctx->saved_data["batch"].toInt();
    const int64_t heads = q.size(1);
    const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        taken(grads[0].contiguous().view(q.sizes()), batch, heads), taken(q, batch, heads),
        taken(k, batch, heads), taken(v, batch, heads),
        taken(saved[3].view(q.sizes()), batch, heads), saved[4], 0.0, /*is_causal=*/true, {},
        ctx->saved_data["scale"].toDouble());
    return {of_rows(dq, q), of_rows(dk, k), of_rows(dv, v), {}, {}};
  }

 private:
  static at::Tensor taken(const at::Tensor& x, int64_t batch, int64_t heads) {
    const bool wide = x.scalar_type() == at::kBFloat16 && bfloat16_products_are_slow();
    return by_head(wide ? x.to(at::kFloat) : x, batch, heads);
  }

  /// The gradient of x [N, KH, D] from that of by_head(x) [B, H, T, D].
  static at::Tensor of_rows(const at::Tensor& grad, const at::Tensor& x) {
    const int64_t group = grad.size(1) / x.size(1);
    const auto summed =
        group == 1
            ? grad
            : grad.reshape({grad.size(0), x.size(1), group, grad.size(2), grad.size(3)}).sum(2);
    return summed.transpose(1, 2).reshape(x.sizes()).to(x.scalar_type());
  }
};

bool has_own_node(const at::Tensor& q) {
  return q.is_cpu() && (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16);
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t batch,
                  int64_t window, double scale, Product product) {
  const int64_t heads = q.size(1);
  const int64_t queries = q.size(0) / batch;
  const int64_t keys = k.size(0) / batch;
  const bool plain = queries == keys && (window <= 0 || window >= keys);
  if (plain && queries > 1 && product == Product::kFast && has_own_node(q)) {
    return TrainedAttention::apply(q, k, v, batch, scale);
  }
  std::optional<at::Tensor> mask;
  if (!plain && (queries > 1 || window > 0)) mask = visible(queries, keys, window, q.device());
  const auto y = at::scaled_dot_product_attention(
      by_head(q, batch, heads), by_head(k, batch, heads), by_head(v, batch, heads), mask, 0.0,
      plain && queries > 1, scale);
  return y.transpose(1, 2).reshape({q.size(0), heads * q.size(2)});
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& boundaries, int64_t window, double scale,
                            Product product) {
  TORCH_CHECK(boundaries.size() >= 2 && boundaries.front() == 0 && boundaries.back() == q.size(0),
              "boundaries must run from 0 to the number of tokens: ", q.size(0));
  std::vector<at::Tensor> parts;
  for (size_t first = 0; first + 1 < boundaries.size();) {
    const int32_t length = boundaries[first + 1] - boundaries[first];
    size_t last = first + 1;
    while (last + 1 < boundaries.size() && boundaries[last + 1] - boundaries[last] == length)
      ++last;
    const int64_t from = boundaries[first];
    const int64_t tokens = boundaries[last] - from;
    const auto count = static_cast<int64_t>(last - first);
    if (length > 0) {
      parts.push_back(attend(q.narrow(0, from, tokens), k.narrow(0, from, tokens),
                             v.narrow(0, from, tokens), count, window, scale, product));
    }
    first = last;
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t window, double scale) {
  return attend(q, k, v, 1, window, scale, Product::kReference);
}

}  // namespace tunefleet::kernels
