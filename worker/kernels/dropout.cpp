#include "worker/kernels/dropout.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <torch/csrc/autograd/custom_function.h>

#include "tuners/random.h"
#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"

namespace tunefleet::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The mask is drawn again in backward instead of kept.
class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& keys,
                            int64_t key, double p) {
    ctx->saved_data["keys"] = keys;
    ctx->saved_data["key"] = key;
    ctx->saved_data["p"] = p;
    return dropout(x, keys, static_cast<uint64_t>(key), p);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {dropout(grads[0], ctx->saved_data["keys"].toTensor(),
                    static_cast<uint64_t>(ctx->saved_data["key"].toInt()),
                    ctx->saved_data["p"].toDouble()),
            {},
            {},
            {}};
  }
};

}  // namespace

uint64_t dropout_key(const tuners::ForwardContext& context, uint64_t stream) {
  return tuners::mix(tuners::mix(context.seed, static_cast<uint64_t>(context.step)), stream);
}

at::Tensor dropout(const at::Tensor& x, const at::Tensor& token_keys, uint64_t key, double p) {
  TORCH_CHECK(p >= 0.0 && p < 1.0, "dropout must be in [0, 1): ", p);
  TORCH_CHECK(token_keys.defined() && token_keys.numel() == x.size(0),
              "dropout needs one token key a row: ", token_keys.defined() ? token_keys.numel() : 0,
              " for ", x.size(0));
  const auto* keys = token_keys.const_data_ptr<int64_t>();
  if (!has_cpu_loop(x)) {
    // The mask is drawn where the keys are and follows x: the same on every device.
    const auto mask = dropout(at::ones({x.size(0), x.size(1)}), token_keys, key, p);
    return x * mask.to(x.device(), x.scalar_type(), /*non_blocking=*/true);
  }
  const auto in = x.contiguous();
  auto out = at::empty_like(in);
  if (in.scalar_type() == at::kFloat) {
    cpu::dropout(f32(in), f32(out), keys, in.size(0), in.size(1), key, p);
  } else {
    cpu::dropout(bf16(in), bf16(out), keys, in.size(0), in.size(1), key, p);
  }
  return out;
}

at::Tensor differentiable_dropout(const at::Tensor& x, const tuners::ForwardContext& context,
                                  uint64_t stream, double p) {
  const auto flat = x.reshape({x.size(0), -1});
  return Dropout::apply(flat, context.token_keys,
                        static_cast<int64_t>(dropout_key(context, stream)), p)
      .view_as(x);
}

}  // namespace tunefleet::kernels
