#include "tuners/maps/linear_map.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// How a map travels through autograd.
struct Holder : torch::CustomClassHolder {
  Holder(std::shared_ptr<const LinearMap> held, int64_t width) : map(std::move(held)), out(width) {}
  std::shared_ptr<const LinearMap> map;
  int64_t out;
};

class MapProduct : public torch::autograd::Function<MapProduct> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& values,
                            const c10::intrusive_ptr<Holder>& holder) {
    ctx->save_for_backward({x, values});
    ctx->saved_data["map"] = c10::IValue::make_capsule(holder);
    auto y = at::zeros({x.size(0), holder->out}, x.options().requires_grad(false));
    holder->map->add_product(x, values, y);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["map"].toCapsule());
    variable_list out(3);
    if (ctx->needs_input_grad(0)) out[0] = at::zeros(saved[0].sizes(), saved[0].options());
    out[1] =
        holder->map->add_gradients(saved[0], saved[1], grads[0].contiguous(),
                                   out[0].defined() ? &out[0] : nullptr, ctx->needs_input_grad(1));
    return out;
  }
};

}  // namespace

void LinearMap::add_product(const at::Tensor& x, const at::Tensor& values, at::Tensor& y) const {
  const at::NoGradGuard no_grad;
  y.add_(x.to(at::kFloat).matmul(dense(values).t()).to(y.scalar_type()));
}

at::Tensor LinearMap::add_gradients(const at::Tensor& x, const at::Tensor& values,
                                    const at::Tensor& g, at::Tensor* dx, bool wanted) const {
  const at::NoGradGuard no_grad;
  const auto leaf = values.detach().requires_grad_(wanted);
  at::Tensor matrix;
  {
    const at::AutoGradMode recorded(wanted);
    matrix = dense(leaf);
  }
  const auto wide = g.to(at::kFloat);
  if (dx != nullptr) dx->add_(wide.matmul(matrix.detach()).to(dx->scalar_type()));
  if (!wanted) return {};
  return torch::autograd::grad({matrix}, {leaf}, {wide.t().matmul(x.to(at::kFloat))}).front();
}

at::Tensor map_product(const at::Tensor& x, int64_t out, const MappedUpdate& update) {
  return MapProduct::apply(x, update.values, c10::make_intrusive<Holder>(update.map, out));
}

}  // namespace tunefleet::tuners
