#include "tuners/rank_allocator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/kthvalue.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace tunefleet::tuners {
namespace {

at::Tensor mask_tensor(const std::vector<bool>& bits, at::Device device) {
  at::Tensor mask = at::empty({static_cast<int64_t>(bits.size())}, at::kBool);
  std::copy(bits.begin(), bits.end(), mask.mutable_data_ptr<bool>());
  return mask.to(device);
}

std::vector<bool> bits_of(const at::Tensor& mask) {
  const at::Tensor host = mask.cpu().contiguous();
  const auto* values = host.const_data_ptr<bool>();
  return std::vector<bool>(values, values + host.numel());
}

}  // namespace

RankAllocator::RankAllocator(const Schedule& schedule, std::vector<SvdTriplets> layers)
    : schedule_(schedule), layers_(std::move(layers)) {
  const auto score = [](const at::Tensor& values) {
    return Score{.importance = at::zeros_like(values), .uncertainty = at::zeros_like(values)};
  };
  const at::NoGradGuard no_grad;
  for (const auto& layer : layers_) {
    scores_.push_back({.a = score(layer.a), .e = score(layer.e), .b = score(layer.b)});
    initial_ += std::count(layer.present.begin(), layer.present.end(), true);
  }
}

void RankAllocator::set_present(const Masks& present) {
  initial_ = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].present = present[i];
    initial_ += std::count(present[i].begin(), present[i].end(), true);
  }
}

RankAllocator::Budget RankAllocator::budget(int64_t step, int64_t total) const {
  const int64_t target = schedule_.target_r * static_cast<int64_t>(layers_.size());
  const int64_t last = total - schedule_.tfinal;
  if (step <= schedule_.tinit) return {.triplets = initial_, .allocates = false};
  if (step > last) return {.triplets = target, .allocates = true};
  const double left = 1.0 - static_cast<double>(step - schedule_.tinit) /
                                static_cast<double>(last - schedule_.tinit);
  const double triplets =
      static_cast<double>(initial_ - target) * (left * left * left) + static_cast<double>(target);
  return {.triplets = static_cast<int64_t>(triplets), .allocates = step % schedule_.delta_t == 0};
}

bool RankAllocator::after_step(int64_t step, int64_t total, Masks& masks) {
  const at::NoGradGuard no_grad;
  const int64_t last = total - schedule_.tfinal;
  if (step > last) {
    apply(masks);
    return false;
  }
  if (step < last) update_scores();
  const Budget now = budget(step, total);
  if (!now.allocates && step < last) return false;
  masks = allocate(now.triplets);
  apply(masks);
  if (step == last) forget();
  return true;
}

void RankAllocator::update_scores() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    update(scores_[i].a, layers_[i].a);
    update(scores_[i].e, layers_[i].e);
    update(scores_[i].b, layers_[i].b);
  }
}

void RankAllocator::update(Score& score, const at::Tensor& value) const {
  if (!value.grad().defined()) return;
  const double beta1 = schedule_.beta1, beta2 = schedule_.beta2;
  const at::Tensor importance = value.mul(value.grad()).abs();
  score.importance.mul_(beta1).add_(importance.mul(1.0 - beta1));
  const at::Tensor distance = importance.sub(score.importance).abs();
  score.uncertainty.mul_(beta2).add_(distance.mul(1.0 - beta2));
}

at::Tensor RankAllocator::triplet_scores(size_t layer) const {
  const Scores& scores = scores_[layer];
  const at::Tensor factors = scores.a.product().mean(1).add(scores.b.product().mean(0));
  return scores.e.product().view(-1).add(factors);
}

RankAllocator::Masks RankAllocator::allocate(int64_t triplets) {
  std::vector<at::Tensor> of_layers;
  std::vector<at::Tensor> present;
  for (size_t i = 0; i < layers_.size(); ++i) {
    of_layers.push_back(triplet_scores(i));
    const at::Tensor here = mask_tensor(layers_[i].present, layers_[i].e.device());
    present.push_back(of_layers.back().masked_select(here));
  }
  const int64_t masked = initial_ - triplets;
  const double threshold = masked <= 0
                               ? -std::numeric_limits<double>::infinity()
                               : std::get<0>(at::kthvalue(at::cat(present), masked)).item<double>();
  Masks masks;
  for (size_t i = 0; i < layers_.size(); ++i) {
    auto bits = bits_of(of_layers[i].gt(threshold));
    for (size_t k = 0; k < bits.size(); ++k) bits[k] = bits[k] && layers_[i].present[k];
    masks.push_back(std::move(bits));
  }
  return masks;
}

void RankAllocator::apply(const Masks& masks) {
  for (size_t i = 0; i < std::min(masks.size(), layers_.size()); ++i) {
    const at::Tensor gone = mask_tensor(masks[i], layers_[i].e.device()).logical_not();
    layers_[i].e.masked_fill_(gone.unsqueeze(1), 0.0);
  }
}

void RankAllocator::forget() {
  for (auto& layer : scores_) {
    for (Score* score : {&layer.a, &layer.e, &layer.b}) {
      score->importance.zero_();
      score->uncertainty.zero_();
    }
  }
}

std::vector<AdapterTensor> RankAllocator::state(const std::vector<std::string>& paths) const {
  std::vector<AdapterTensor> state;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto add = [&](const char* factor, const Score& score) {
      const std::string stem = paths[i] + "." + factor;
      state.push_back({.key = {}, .path = stem + ".importance", .tensor = score.importance});
      state.push_back({.key = {}, .path = stem + ".uncertainty", .tensor = score.uncertainty});
    };
    add("lora_A", scores_[i].a);
    add("lora_E", scores_[i].e);
    add("lora_B", scores_[i].b);
  }
  return state;
}

}  // namespace tunefleet::tuners
