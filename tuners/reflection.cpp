#include "tuners/reflection.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_inv_ex.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <tuple>
#include <utility>

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// H = I - V M V^T: what U stands for.
struct Factors {
  at::Tensor v;  ///< [in, r]
  at::Tensor m;  ///< [r, r]
  /// `orthogonal` only: V = U `to_basis`.
  at::Tensor to_basis;
};

/// S of U^T U, and, since the map is linear and symmetric in its entries, also the gradient of U^T
/// U from that of S.
at::Tensor half_diagonal(const at::Tensor& gram) {
  auto inner = gram.triu();
  inner.diagonal().mul_(0.5);
  return inner;
}

/// The r x r part in double: Gram-Schmidt on nearly equal vectors loses digits. What is left of an
/// equal one is cut off by a ridge far below them.
Factors factors_of(const at::Tensor& u, bool orthogonal) {
  if (!orthogonal) {
    const auto inner = half_diagonal(at::mm(u.t(), u));
    return {.v = u, .m = std::get<0>(at::linalg_inv_ex(inner)), .to_basis = {}};
  }
  const auto wide = u.to(at::kDouble);
  auto gram = at::mm(wide.t(), wide);
  gram.diagonal().add_(gram.diagonal().mean().mul(1e-14));
  const auto upper = std::get<0>(at::linalg_cholesky_ex(gram, /*upper=*/true));
  const auto eye = at::eye(u.size(1), gram.options());
  const auto to_basis = at::linalg_solve_triangular(upper, eye, /*upper=*/true);
  return {.v = at::mm(wide, to_basis).to(at::kFloat),
          .m = eye.mul(2.0).to(at::kFloat),
          .to_basis = to_basis.to(at::kFloat)};
}

/// Inputs: x [N, in], u [in, r]; y = x - (x V) M^T V^T.
class Reflect : public torch::autograd::Function<Reflect> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& u,
                            bool orthogonal) {
    const auto factors = factors_of(u, orthogonal);
    // Near equal vectors almost cancel: all of it in float32, rounded once.
    const auto wide = x.to(at::kFloat);
    const auto t = at::mm(wide, factors.v);
    const auto q = at::mm(t, factors.m.t());
    variable_list saved{x, factors.v, factors.m, t, q};
    if (orthogonal) saved.push_back(factors.to_basis);
    ctx->save_for_backward(std::move(saved));
    return at::addmm(wide, q, factors.v.t(), 1, -1).to(x.scalar_type());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &v = saved[1], &m = saved[2], &t = saved[3], &q = saved[4];
    const auto g = grads[0].to(at::kFloat);
    const auto s = at::mm(g, v);
    const auto back = at::mm(s, m);
    at::Tensor dx, du;
    if (ctx->needs_input_grad(0)) dx = at::addmm(g, back, v.t(), 1, -1).to(x.scalar_type());
    if (ctx->needs_input_grad(1)) {
      du = at::mm(x.to(at::kFloat).t(), back).addmm_(g.t(), q).neg_();
      if (saved.size() > 5) {
        // Of the projection: only what leaves the span counts.
        du = at::mm(du.sub_(at::mm(v, at::mm(v.t(), du))), saved[5].t());
      } else {
        const auto dm = at::mm(s.t(), t).neg_();
        const auto dgram = half_diagonal(at::mm(at::mm(m.t(), dm), m.t()).neg_());
        du.addmm_(v, dgram.add(dgram.t()));
      }
    }
    return {dx, du, {}};
  }
};

}  // namespace

at::Tensor reflect(const at::Tensor& x, const Reflections& reflections) {
  return Reflect::apply(x, reflections.u, reflections.orthogonal);
}

at::Tensor reflect_weight(const at::Tensor& weight, const Reflections& reflections) {
  const auto factors = factors_of(reflections.u.detach(), reflections.orthogonal);
  return at::addmm(weight, at::mm(at::mm(weight, factors.v), factors.m), factors.v.t(), 1, -1);
}

}  // namespace tunefleet::tuners
