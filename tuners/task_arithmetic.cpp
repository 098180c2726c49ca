#include "tuners/task_arithmetic.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <tuple>

namespace tunefleet::tuners {
namespace {

at::Tensor pruned(const TaskArithmetic& how, const at::Tensor& tensor, RandomStream& stream) {
  if (how.density >= 1.0 || how.method == "linear") return tensor;
  if (how.method.starts_with("dare")) {
    return randomly_pruned(tensor, how.density, RandomStream(stream.next(), stream.next()));
  }
  return magnitude_pruned(tensor, how.density);
}

/// For each value whether it has the sign that the tensors elect together; a tie elects +.
at::Tensor agrees(const at::Tensor& stacked, bool by_frequency) {
  const at::Tensor votes = (by_frequency ? stacked.sign() : stacked).sum(0);
  const at::Tensor elected =
      at::where(votes.ge(0), at::ones_like(votes), at::ones_like(votes).neg());
  return stacked.sign().eq(elected);
}

}  // namespace

at::Tensor magnitude_pruned(const at::Tensor& tensor, double density) {
  const auto keep = static_cast<int64_t>(density * static_cast<double>(tensor.numel()));
  at::Tensor mask = at::zeros_like(tensor).reshape(-1);
  const at::Tensor kept = std::get<1>(at::topk(tensor.abs().reshape(-1), keep));
  mask.index_fill_(0, kept, 1);
  return tensor.mul(mask.view_as(tensor));
}

at::Tensor randomly_pruned(const at::Tensor& tensor, double density, RandomStream stream) {
  if (density <= 0.0) return at::zeros_like(tensor);
  at::Tensor mask = at::empty_like(tensor, tensor.options().device(at::kCPU).dtype(at::kFloat),
                                   at::MemoryFormat::Contiguous);
  auto* values = mask.mutable_data_ptr<float>();
  for (int64_t i = 0; i < mask.numel(); ++i) {
    values[i] = stream.uniform() < density ? static_cast<float>(1.0 / density) : 0.0F;
  }
  return tensor.mul(mask.to(tensor.device()));
}

at::Tensor combine_tasks(const TaskArithmetic& how, const std::vector<at::Tensor>& tensors,
                         const std::vector<double>& weights, RandomStream stream) {
  TORCH_CHECK(!tensors.empty() && tensors.size() == weights.size(),
              "one weight for each tensor: ", weights.size(), " for ", tensors.size());
  std::vector<at::Tensor> kept;
  kept.reserve(tensors.size());
  for (const auto& tensor : tensors) kept.push_back(pruned(how, tensor, stream));
  const at::Tensor stacked = at::stack(kept);
  std::vector<int64_t> shape(static_cast<size_t>(stacked.dim()), 1);
  shape[0] = stacked.size(0);
  const at::Tensor weighted = stacked.mul(at::tensor(weights, stacked.options()).view(shape));
  if (!how.method.ends_with("ties")) return weighted.sum(0);
  const at::Tensor mask = agrees(stacked, how.sign_by_frequency);
  return weighted.mul(mask).sum(0).div(mask.sum(0).clamp_min(1).to(stacked.scalar_type()));
}

}  // namespace tunefleet::tuners
