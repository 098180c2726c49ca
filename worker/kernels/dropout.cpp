#include "worker/kernels/dropout.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>

#include "tuners/random.h"
#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"

namespace tunefleet::kernels {

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

}  // namespace tunefleet::kernels
