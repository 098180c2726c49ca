#include "worker/trainer/backward_updates.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cmath>
#include <memory>
#include <utility>

#include "worker/collective/gradient_sync.h"
#include "worker/kernels/flat_norm.h"

namespace tunefleet::trainer {

class BackwardUpdates::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(BackwardUpdates& owner, std::string path) : owner_(owner), path_(std::move(path)) {}
  void operator()(const at::Tensor& tensor) override { owner_.update(path_, tensor); }

 private:
  BackwardUpdates& owner_;
  std::string path_;
};

BackwardUpdates::BackwardUpdates(const tuners::TrainableSet& set, collective::Group& group,
                                 Optimizer& optimizer)
    : set_(set), group_(group), optimizer_(optimizer) {
  collective::check_same_set(set_, group_);
  for (const auto& entry : set_.tensors) {
    entry.tensor.mutable_grad().reset();
    torch::autograd::impl::set_post_acc_grad_hooks(entry.tensor,
                                                   std::make_unique<Hook>(*this, entry.path));
  }
}

BackwardUpdates::~BackwardUpdates() {
  for (const auto& entry : set_.tensors) {
    torch::autograd::impl::set_post_acc_grad_hooks(entry.tensor, nullptr);
    entry.tensor.mutable_grad().reset();
  }
}

void BackwardUpdates::begin(double learning_rate) {
  learning_rate_ = learning_rate;
  squares_ = 0.0;
  bytes_ = 0;
  for (const auto& entry : set_.tensors) updated_[entry.path] = false;
}

void BackwardUpdates::update(const std::string& path, const at::Tensor& tensor) {
  TORCH_CHECK(!std::exchange(updated_[path], true), "a second gradient in one step: ", path);
  const at::NoGradGuard no_grad;
  auto& gradient = tensor.mutable_grad();
  gradient = gradient.contiguous();
  auto flat = gradient.view(-1);
  group_.all_reduce_sum(flat);
  bytes_ += static_cast<int64_t>(flat.nbytes());
  const double norm = kernels::flat_norm(flat);
  squares_ += norm * norm;
  if (std::isfinite(squares_)) optimizer_.step_one(path, learning_rate_);
  gradient.reset();
}

double BackwardUpdates::end() {
  for (const auto& [path, done] : updated_)
    TORCH_CHECK(done, "a tensor that trains got no gradient: ", path);
  return std::sqrt(squares_);
}

}  // namespace tunefleet::trainer
