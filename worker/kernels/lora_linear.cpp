#include "worker/kernels/lora_linear.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "tuners/gradient_place.h"
#include "worker/kernels/dropout.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/lora_call.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// One backward pass.
class Backward {
 public:
  Backward(AutogradContext* ctx, const LoraCall& call, const variable_list& grads)
      : ctx_(ctx), call_(call), saved_(ctx->get_saved_variables()), out_(call.inputs) {
    for (const auto& grad : grads) dy_.push_back(grad.defined() ? grad.contiguous() : at::Tensor());
  }

  variable_list run() {
    for (size_t l = 0; l < call_.layers.size(); ++l) {
      if (dy_[l].defined()) base(call_.layers[l], dy_[l], saved_[call_.inputs + 1 + l]);
    }
    without_dropout();
    size_t t = call_.inputs + 1 + call_.layers.size();  // those with dropout have a t each
    for_updates(call_, true, [&](const auto& update, size_t layer) {
      const auto& own = saved_[t++];
      if (dy_[layer].defined()) with_dropout(update, dy_[layer], own);
    });
    out_.push_back(at::Tensor());  // the call
    return std::move(out_);
  }

 private:
  bool needs(size_t input) const { return ctx_->needs_input_grad(input); }
  const at::Tensor& x() const { return saved_[0]; }  ///< Undefined where it is not read.

  void base(const LoraCall::Layer& layer, const at::Tensor& dy, const at::Tensor& kept) {
    if (needs(0)) add_to_dx(matmul_nn(dy, kept.defined() ? kept : whole_weight(layer, saved_)));
    weights(layer, dy);
    if (layer.bias && needs(layer.weight + 1)) out_[layer.weight + 1] = dy.sum(0);
    for (const auto& each : layer.mapped) {
      out_[each.values] = each.map->add_gradients(
          x(), saved_[each.values], dy, needs(0) ? &out_[0] : nullptr, needs(each.values));
    }
    for (const auto& update : layer.updates) {
      if (!update.bias || !needs(update.a + 2)) continue;
      out_[update.a + 2] =
          dy.sum(0, false, at::kFloat).mul_(update.scaling).to(saved_[update.a + 2].scalar_type());
    }
  }

  /// Of the weight, and of the values that are added to it.
  void weights(const LoraCall::Layer& layer, const at::Tensor& dy) {
    bool any = needs(layer.weight);
    for (const auto& part : layer.weight_parts) {
      for (size_t i = 0; i < part.count; ++i) any |= needs(part.values + i);
    }
    if (!any) return;
    if (layer.weight_parts.empty()) {
      out_[layer.weight] = runs_gemm_loops(dy, x())
                               ? matmul_tn(dy, x())
                               : tuners::weight_gradient(saved_[layer.weight], dy, x());
      return;
    }
    const auto grad = matmul_tn(dy, x());
    if (needs(layer.weight)) out_[layer.weight] = grad;
    for (const auto& part : layer.weight_parts) {
      auto grads = part.map->gradients(grad, values_of(part, saved_));
      for (size_t i = 0; i < part.count; ++i) {
        if (needs(part.values + i)) out_[part.values + i] = std::move(grads[i]);
      }
    }
  }

  void add_to_dx(const at::Tensor& part) {
    if (out_[0].defined()) {
      out_[0].add_(part);
    } else {
      out_[0] = part;
    }
  }

  void db(const LoraCall::Update& update, const at::Tensor& dy, const at::Tensor& t) {
    if (!needs(update.a + 1)) return;
    const auto dtype = saved_[update.a + 1].scalar_type();
    out_[update.a + 1] = dy.t().matmul(t).to(dtype).mul_(update.scaling);
  }

  /// All g side by side, [N, R]: x and dx are met once for all of them.
  void without_dropout() {
    const auto& t = saved_[call_.inputs];
    if (!t.defined()) return;
    const auto a = shared_a(call_, saved_, x().scalar_type());
    const auto g = at::empty({x().size(0), a.size(0)}, x().options());
    bool any = false;
    int64_t column = 0;
    for_updates(call_, false, [&](const auto& update, size_t layer) {
      const int64_t r = saved_[update.a].size(0);
      auto own = g.narrow(1, column, r);
      if (dy_[layer].defined()) {
        db(update, dy_[layer], t.narrow(1, column, r));
        at::mm_out(own, dy_[layer], scaled_b(update, saved_[update.a + 1], g.scalar_type()));
        any |= needs(update.a);
      } else {
        own.zero_();
      }
      column += r;
    });
    if (any) split_da(g.t().matmul(x()));
    if (needs(0)) out_[0].addmm_(g, a);
  }

  void split_da(const at::Tensor& da) {
    int64_t row = 0;
    for_updates(call_, false, [&](const auto& update, size_t) {
      const auto& a = saved_[update.a];
      if (needs(update.a)) out_[update.a] = da.narrow(0, row, a.size(0)).to(a.scalar_type());
      row += a.size(0);
    });
  }

  void with_dropout(const LoraCall::Update& update, const at::Tensor& dy, const at::Tensor& t) {
    const auto drop = [&](const at::Tensor& v) {
      return dropout(v, call_.token_keys, update.key, update.dropout);
    };
    const auto& a = saved_[update.a];
    db(update, dy, t);
    const auto g = dy.matmul(scaled_b(update, saved_[update.a + 1], dy.scalar_type()));
    if (needs(update.a)) out_[update.a] = g.t().matmul(drop(x())).to(a.scalar_type());
    if (needs(0)) add_to_dx(drop(g.matmul(a.to(dy.scalar_type()))));
  }

  AutogradContext* ctx_;
  const LoraCall& call_;
  /// The inputs, the shared t, each layer's weight where it is kept, the t of each update with
  /// dropout.
  variable_list saved_;
  variable_list dy_;
  variable_list out_;
};

class LoraLinears : public torch::autograd::Function<LoraLinears> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, at::TensorList others,
                               const LoraCallPointer& call) {
    variable_list in{x};
    in.insert(in.end(), others.begin(), others.end());
    const auto dtype = x.scalar_type();
    variable_list outputs, kept;
    for (const auto& layer : call->layers) {
      const auto weight = whole_weight(layer, in);
      kept.push_back(keeps_weight(layer) ? weight : at::Tensor());
      outputs.push_back(matmul_nt(x, weight, whole_bias(layer, in, dtype), call->product));
      for (const auto& each : layer.mapped)
        each.map->add_product(x, in[each.values], outputs.back());
    }
    variable_list saved = in;
    if (!keeps_input(*call, in)) saved[0].reset();
    const auto a = shared_a(*call, in, dtype);
    saved.push_back(a.defined() ? x.matmul(a.t()) : at::Tensor());
    saved.insert(saved.end(), kept.begin(), kept.end());
    const auto add = [&](const auto& update, size_t layer, const at::Tensor& t) {
      outputs[layer].addmm_(t, in[update.a + 1].to(dtype).t(), 1, update.scaling);
    };
    int64_t column = 0;
    for_updates(*call, false, [&](const auto& update, size_t layer) {
      const int64_t r = in[update.a].size(0);
      add(update, layer, saved[call->inputs].narrow(1, column, r));
      column += r;
    });
    for_updates(*call, true, [&](const auto& update, size_t layer) {
      const auto dropped = dropout(x, call->token_keys, update.key, update.dropout);
      saved.push_back(dropped.matmul(in[update.a].to(dtype).t()));
      add(update, layer, saved.back());
    });
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto call =
        c10::static_intrusive_pointer_cast<LoraCall>(ctx->saved_data["call"].toCapsule());
    return Backward(ctx, *call, grads).run();
  }
};

}  // namespace

std::vector<at::Tensor> lora_linears(const at::Tensor& x, std::vector<LoraLayer> layers,
                                     const tuners::ForwardContext& context) {
  auto call = c10::make_intrusive<LoraCall>();
  call->token_keys = context.token_keys;
  // Outside training the digits count for more than the time: logits compare with transformers'.
  call->product = context.training ? Product::kFast : Product::kReference;
  variable_list others;
  for (auto& layer : layers) add_layer(*call, others, std::move(layer), context);
  return LoraLinears::apply(x, at::TensorList(others), call);
}

at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       std::vector<tuners::LowRankUpdate> updates,
                       const tuners::ForwardContext& context) {
  std::vector<LoraLayer> layer;
  layer.push_back({.weight = weight, .bias = bias, .updates = std::move(updates)});
  return lora_linears(x, std::move(layer), context).front();
}

}  // namespace tunefleet::kernels
