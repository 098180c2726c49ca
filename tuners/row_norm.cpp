#include "tuners/row_norm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <utility>

namespace tunefleet::tuners {

at::Tensor RowNorm::of(const std::vector<ScaledFactors>& additions) const {
  std::vector<Version> versions;
  for (const auto& each : additions) {
    for (const auto* factor : {&each.a, &each.b}) {
      versions.push_back({.tensor = factor->unsafeGetTensorImpl(),
                          .data = factor->const_data_ptr(),
                          .version = static_cast<uint32_t>(factor->_version())});
    }
  }
  const std::lock_guard lock(mutex_);
  if (!norm_.defined() || versions != measured_) {
    const at::NoGradGuard no_grad;
    norm_ = measure(additions);
    measured_ = std::move(versions);
  }
  return norm_;
}

at::Tensor RowNorm::measure(const std::vector<ScaledFactors>& additions) const {
  if (!squares_.defined())
    squares_ = at::linalg_vector_norm(weight_, 2, {1}, false, at::kDouble).square_();
  std::vector<at::Tensor> as, bs;
  for (const auto& each : additions) {
    as.push_back(each.a.detach().to(at::kFloat));
    bs.push_back(each.b.detach().to(at::kFloat).mul(each.scaling));
  }
  if (as.empty()) return squares_.sqrt().to(at::kFloat);
  const auto a = at::cat(as), b = at::cat(bs, 1).to(at::kDouble);
  // The small cross terms are as exact as the weight's dtype.
  const auto projected = weight_.matmul(a.to(weight_.scalar_type()).t()).to(at::kDouble);
  const auto gram = a.matmul(a.t()).to(at::kDouble);
  const auto changes = projected.mul_(2).add_(b.matmul(gram)).mul_(b).sum(1);
  return squares_.add(changes).clamp_min_(0).sqrt_().to(at::kFloat);
}

}  // namespace tunefleet::tuners
