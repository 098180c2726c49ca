#include "worker/trainer/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <stdexcept>

#include "worker/trainer/saved_state.h"

namespace tunefleet::trainer {

AdamW::AdamW(const std::vector<OptimizerGroup>& groups, const AdamWOptions& options)
    : options_(options) {
  set_groups(groups);
}

void AdamW::set_groups(const std::vector<OptimizerGroup>& groups) {
  groups_ = groups;
  for (const auto& group : groups_) {
    for (const auto& entry : group.tensors) {
      TORCH_CHECK(!entry.int8, "AdamW steps no 8-bit weights, GaLore does: ", entry.path);
      auto& state = states_[entry.path];
      state.tensor = entry.tensor;
      if (state.step.defined()) continue;
      state.step = at::zeros({}, entry.tensor.options().dtype(at::kFloat).requires_grad(false));
    }
  }
}

void AdamW::step(double learning_rate) {
  for (const auto& group : groups_) {
    // The fused kernel takes tensors of one dtype.
    std::map<at::ScalarType, std::vector<const tuners::TrainableTensor*>> by_dtype;
    for (const auto& entry : group.tensors) {
      if (entry.tensor.grad().defined()) by_dtype[entry.tensor.scalar_type()].push_back(&entry);
    }
    for (const auto& [dtype, tensors] : by_dtype) step_tensors(group, tensors, learning_rate);
  }
}

void AdamW::step_one(const std::string& path, double learning_rate) {
  for (const auto& group : groups_) {
    for (const auto& entry : group.tensors) {
      if (entry.path == path) return step_tensors(group, {&entry}, learning_rate);
    }
  }
  throw std::invalid_argument("no tensor of that path trains: " + path);
}

void AdamW::step_tensors(const OptimizerGroup& group,
                         const std::vector<const tuners::TrainableTensor*>& tensors,
                         double learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> values, grads, exp_avgs, exp_avg_sqs, steps;
  for (const auto* entry : tensors) {
    auto& state = states_.at(entry->path);
    if (!state.exp_avg.defined()) {
      state.exp_avg = at::zeros_like(entry->tensor);
      state.exp_avg_sq = at::zeros_like(entry->tensor);
    }
    state.step.add_(1);
    values.push_back(entry->tensor);
    grads.push_back(entry->tensor.grad());
    exp_avgs.push_back(state.exp_avg);
    exp_avg_sqs.push_back(state.exp_avg_sq);
    steps.push_back(state.step);
  }
  at::_fused_adamw_(values, grads, exp_avgs, exp_avg_sqs, {}, steps, learning_rate * group.lr_scale,
                    options_.beta1, options_.beta2, group.weight_decay, options_.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
  // The kernel does not count as a change, and tuners keep what they derive from a tensor's version.
  for (const auto& value : values) value.unsafeGetTensorImpl()->bump_version();
}

AdamW::NamedTensors AdamW::state() const {
  NamedTensors out;
  for (const auto& [path, state] : states_) {
    out.emplace_back(path + ".step", state.step);
    if (!state.exp_avg.defined()) continue;
    out.emplace_back(path + ".exp_avg", state.exp_avg);
    out.emplace_back(path + ".exp_avg_sq", state.exp_avg_sq);
  }
  return out;
}

void AdamW::load(const NamedTensors& state) {
  SavedState saved(state);
  for (auto& [path, own] : states_) {
    own.step = saved.take(path + ".step", {}, own.tensor.device());
    own.exp_avg = own.exp_avg_sq = at::Tensor();
    if (own.step.item<double>() == 0.0) continue;
    own.exp_avg = saved.take(path + ".exp_avg", own.tensor.sizes(), own.tensor.device());
    own.exp_avg_sq = saved.take(path + ".exp_avg_sq", own.tensor.sizes(), own.tensor.device());
  }
  saved.check_all_taken();
}

}  // namespace tunefleet::trainer
