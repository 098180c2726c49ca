#include "worker/trainer/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <map>
#include <stdexcept>

namespace tunefleet::trainer {

AdamW::AdamW(const tuners::TrainableSet& set, const AdamWOptions& options) : options_(options) {
  const at::NoGradGuard no_grad;
  parts_.resize(2);
  parts_[0].weight_decay = options.weight_decay;
  for (const auto& entry : set.tensors) {
    auto& part = parts_[entry.decay ? 0 : 1];
    part.tensors.push_back(entry.tensor);
    part.exp_avgs.push_back(at::zeros_like(entry.tensor));
    part.exp_avg_sqs.push_back(at::zeros_like(entry.tensor));
    part.steps.push_back(
        at::zeros({}, entry.tensor.options().dtype(at::kFloat).requires_grad(false)));
    part.paths.push_back(entry.path);
  }
}

void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  for (auto& part : parts_) {
    if (part.tensors.empty()) continue;
    std::vector<at::Tensor> grads;
    grads.reserve(part.tensors.size());
    for (const auto& tensor : part.tensors) grads.push_back(tensor.grad());
    for (auto& step : part.steps) step.add_(1);
    at::_fused_adamw_(part.tensors, grads, part.exp_avgs, part.exp_avg_sqs, {}, part.steps,
                      learning_rate, options_.beta1, options_.beta2, part.weight_decay,
                      options_.epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  }
}

AdamW::NamedTensors AdamW::state() const {
  NamedTensors out;
  for (const auto& part : parts_) {
    for (size_t i = 0; i < part.paths.size(); ++i) {
      out.emplace_back(part.paths[i] + ".exp_avg", part.exp_avgs[i]);
      out.emplace_back(part.paths[i] + ".exp_avg_sq", part.exp_avg_sqs[i]);
    }
  }
  return out;
}

void AdamW::load(const NamedTensors& state, int64_t steps_done) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> saved(state.begin(), state.end());
  const auto take = [&](const std::string& name, at::Tensor& to) {
    const auto it = saved.find(name);
    if (it == saved.end())
      throw std::invalid_argument("the optimizer state lacks a tensor: " + name);
    if (it->second.sizes() != to.sizes()) {
      throw std::invalid_argument("the optimizer state has another shape: " + name +
                                  c10::str(", ", it->second.sizes(), " instead of ", to.sizes()));
    }
    to.copy_(it->second);
  };
  for (auto& part : parts_) {
    for (size_t i = 0; i < part.paths.size(); ++i) {
      take(part.paths[i] + ".exp_avg", part.exp_avgs[i]);
      take(part.paths[i] + ".exp_avg_sq", part.exp_avg_sqs[i]);
      part.steps[i].fill_(static_cast<double>(steps_done));
    }
  }
}

}  // namespace tunefleet::trainer
