#include "tuners/rotation.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_inv_ex.h>
#include <ATen/ops/triu_indices.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>
#include <vector>

#include "tuners/maps/block_rotation.h"
#include "tuners/maps/skew_series.h"

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class Cayley : public torch::autograd::Function<Cayley> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q) {
    const auto eye = at::eye(q.size(1), q.options());
    // I + Q is never singular: x^T (I + Q) x = |x|^2 for a skew Q.
    auto inverse = std::get<0>(at::linalg_inv_ex(q.add(eye)));
    ctx->save_for_backward({inverse});
    return inverse.sub(eye).mul_(2.0);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto turned = ctx->get_saved_variables()[0].transpose(1, 2);
    return {at::bmm(at::bmm(turned, grads[0]), turned).mul_(-2.0)};
  }
};

/// Factors of Q, Q^2, …: all 2, the last 1 where there are several. PEFT's series of three terms
/// has the same powers as that of four.
std::vector<double> series(int64_t terms) {
  if (terms <= 1) return {};
  if (terms == 2) return {2.0};
  std::vector<double> factors(static_cast<size_t>(terms == 3 ? 3 : terms - 1), 2.0);
  factors.back() = 1.0;
  return factors;
}

/// Horner's scheme: R - I = Q A_1, A_k = c_k I + Q A_(k + 1), A_K = c_K I.
class CayleyNeumann : public torch::autograd::Function<CayleyNeumann> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, int64_t terms) {
    const auto factors = series(terms);
    variable_list saved{q};
    at::Tensor sum = q.mul(factors.back());  // Q A_(k + 1)
    for (size_t k = factors.size() - 1; k > 0; --k) {
      sum.diagonal(0, 1, 2).add_(factors[k - 1]);
      saved.push_back(sum);
      sum = at::bmm(q, sum);
    }
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["last"] = factors.back();
    return sum;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& q = saved[0];
    at::Tensor grad = grads[0];
    at::Tensor dq = at::zeros_like(q);
    for (size_t k = saved.size() - 1; k > 0; --k) {
      dq.baddbmm_(grad, saved[k].transpose(1, 2));
      grad = at::bmm(q, grad).neg_();  // Q^T = -Q
    }
    return {dq.add_(grad, ctx->saved_data["last"].toDouble()), {}};
  }
};

/// The series of the skew-symmetric matrices with these entries, by loops that keep no power.
class SkewSeries : public torch::autograd::Function<SkewSeries> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& entries, int64_t b,
                            int64_t terms) {
    ctx->save_for_backward({entries});
    ctx->saved_data["b"] = b;
    ctx->saved_data["terms"] = terms;
    return skew_series(entries, b, series(terms));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto factors = series(ctx->saved_data["terms"].toInt());
    return {skew_series_backward(ctx->get_saved_variables()[0], ctx->saved_data["b"].toInt(),
                                 factors, grads[0]),
            {},
            {}};
  }
};

/// x d for every block: x [N, n b], d [n, b, b] or [1, b, b].
at::Tensor blocks_product(const at::Tensor& x, const at::Tensor& d) {
  const int64_t b = d.size(1);
  if (d.size(0) == 1) return x.reshape({-1, b}).matmul(d[0]).view(x.sizes());
  const auto blocks = x.view({x.size(0), d.size(0), b}).transpose(0, 1);
  return at::bmm(blocks, d).transpose(0, 1).reshape(x.sizes());
}

class RotateBlocks : public torch::autograd::Function<RotateBlocks> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& d) {
    const auto in = x.contiguous();
    ctx->save_for_backward({d.requires_grad() ? in : at::Tensor(), d});
    if (has_block_loops(in, d.size(1))) return blocks_rotated(in, d);
    return blocks_product(in, d.to(in.scalar_type())).add_(in);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& d = saved[1];
    const auto grad = grads[0].contiguous();
    if (has_block_loops(grad, d.size(1))) {
      auto [dx, dd] =
          blocks_rotated_backward(x, d, grad, ctx->needs_input_grad(0), ctx->needs_input_grad(1));
      return {std::move(dx), std::move(dd)};
    }
    at::Tensor dx, dd;
    if (ctx->needs_input_grad(0)) {
      dx = blocks_product(grad, d.transpose(1, 2).to(grad.scalar_type())).add_(grad);
    }
    if (ctx->needs_input_grad(1)) dd = blocks_gradient(x, grad, d);
    return {dx, dd};
  }

 private:
  static at::Tensor blocks_gradient(const at::Tensor& x, const at::Tensor& grad,
                                    const at::Tensor& d) {
    const int64_t n = d.size(0), b = d.size(1);
    const auto blocks = [&](const at::Tensor& wide) {
      return wide.view({wide.numel() / (n * b), n, b}).transpose(0, 1);
    };
    return at::bmm(blocks(x).transpose(1, 2), blocks(grad)).to(d.scalar_type());
  }
};

}  // namespace

at::Tensor skew_symmetric(const at::Tensor& entries, int64_t b) {
  const auto places = at::triu_indices(b, b, 1, entries.options().dtype(at::kLong));
  const auto flat = places[0].mul(b).add(places[1]);
  const auto upper = at::zeros({entries.size(0), b * b}, entries.options())
                         .index_copy(1, flat, entries)
                         .view({-1, b, b});
  return upper.sub(upper.transpose(1, 2));
}

at::Tensor cayley(const at::Tensor& q) { return Cayley::apply(q); }

at::Tensor cayley_neumann(const at::Tensor& q, int64_t terms) {
  return terms <= 1 ? q.mul(0.0) : CayleyNeumann::apply(q, terms);
}

at::Tensor skew_cayley_neumann(const at::Tensor& entries, int64_t b, int64_t terms) {
  if (terms <= 1 || !has_block_loops(entries, b))
    return cayley_neumann(skew_symmetric(entries, b), terms);
  return SkewSeries::apply(entries, b, terms);
}

at::Tensor rotate_blocks(const at::Tensor& x, const at::Tensor& d) {
  return RotateBlocks::apply(x, d);
}

}  // namespace tunefleet::tuners
