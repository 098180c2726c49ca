#include "worker/kernels/cross_entropy_chunk.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>

#include <algorithm>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/cpu_pointers.h"

namespace tunefleet::kernels {
namespace {

/// Bytes that one chunk's logits may take: large enough for full-speed products, small beside
/// everything else.
constexpr int64_t kChunkBytes = int64_t{24} << 20;

/// In torch's operations, for other devices.
ChunkLosses torch_cross_entropy(at::Tensor& logits, const at::Tensor& targets, double scale,
                                bool gradient) {
  const auto wide = at::log_softmax(logits, -1, at::kFloat);
  const auto picked = wide.gather(1, targets.unsqueeze(1)).squeeze(1);
  ChunkLosses out{.losses = picked.neg(),
                  .correct = picked.eq(std::get<0>(wide.max(-1))).sum().item<int64_t>()};
  if (!gradient) return out;
  auto d = wide.exp_();
  d.scatter_add_(1, targets.unsqueeze(1), -at::ones({logits.size(0), 1}, d.options()));
  logits.copy_(d.mul_(scale));
  return out;
}

}  // namespace

int64_t chunk_rows(const at::Tensor& weight) {
  return std::max<int64_t>(16, kChunkBytes / (weight.size(0) * weight.element_size()));
}

ChunkLosses cross_entropy_of(at::Tensor& logits, const at::Tensor& targets, double scale,
                             bool gradient) {
  if (!has_cpu_loop(logits)) return torch_cross_entropy(logits, targets, scale, gradient);
  const int64_t rows = logits.size(0);
  auto losses = at::empty({rows}, at::kFloat);
  auto correct = at::empty({rows}, at::kByte);
  auto* flags = correct.mutable_data_ptr<uint8_t>();
  const auto* wanted = targets.const_data_ptr<int64_t>();
  const auto factor = static_cast<float>(scale);
  if (logits.scalar_type() == at::kFloat) {
    cpu::cross_entropy(f32(logits), wanted, f32(losses), flags, rows, logits.size(1), factor,
                       gradient);
  } else {
    cpu::cross_entropy(bf16(logits), wanted, f32(losses), flags, rows, logits.size(1), factor,
                       gradient);
  }
  return {.losses = losses, .correct = std::count(flags, flags + rows, uint8_t{1})};
}

}  // namespace tunefleet::kernels
