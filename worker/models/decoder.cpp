#include "worker/models/decoder.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cmath>
#include <utility>

#include "worker/kernels/attention.h"
#include "worker/kernels/norm.h"
#include "worker/kernels/rope.h"
#include "worker/kernels/swiglu.h"
#include "worker/models/checkpoint.h"
#include "worker/models/linear.h"

namespace tunefleet::models {
namespace {

template <typename T>
at::Tensor index_tensor(const std::vector<T>& values, at::Device device) {
  auto out = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.template mutable_data_ptr<int64_t>());
  return out.to(device);
}

/// x [N, H * D] -> [N, H, D], each head normed when the model has norms there.
at::Tensor heads_of(const at::Tensor& x, int64_t head_dim, const tuners::ParameterSlot& norm,
                    double eps) {
  auto heads = x.view({x.size(0), x.size(1) / head_dim, head_dim});
  return norm.base.defined() ? kernels::rms_norm(heads, norm.value(), eps) : heads;
}

/// Appends to a cache and returns all rows so far.
at::Tensor append(at::Tensor& cache, int64_t cached, const at::Tensor& rows) {
  TORCH_CHECK(cached + rows.size(0) <= cache.size(0), "the cache is full: ", cache.size(0),
              " tokens");
  cache.narrow(0, cached, rows.size(0)).copy_(rows);
  return cache.narrow(0, 0, cached + rows.size(0));
}

}  // namespace

at::Tensor Decoder::attention(const DecoderLayer& layer, const at::Tensor& x,
                              const TokenBatch& batch, const RopeTable::Angles& angles,
                              const tuners::ForwardContext& context, KvCache::Layer* cache,
                              int64_t cached) const {
  const int64_t dim = config_.head_dim;
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  const auto q = kernels::rope(
      heads_of(linear(layer.q_proj, x, context), dim, layer.q_norm, config_.rms_norm_eps),
      angles.cos, angles.sin);
  auto k = kernels::rope(
      heads_of(linear(layer.k_proj, x, context), dim, layer.k_norm, config_.rms_norm_eps),
      angles.cos, angles.sin);
  auto v = linear(layer.v_proj, x, context).view({x.size(0), config_.num_key_value_heads, dim});
  if (cache != nullptr) {
    k = append(cache->keys, cached, k);
    v = append(cache->values, cached, v);
    return linear(layer.o_proj, kernels::cached_attention(q, k, v, layer.window, scale), context);
  }
  return linear(layer.o_proj,
                kernels::causal_attention(q, k, v, batch.boundaries, layer.window, scale), context);
}

at::Tensor Decoder::run_layer(const DecoderLayer& layer, const at::Tensor& x,
                              const TokenBatch& batch, const RopeTable::Angles& angles,
                              const tuners::ForwardContext& context, KvCache::Layer* cache,
                              int64_t cached) const {
  const auto normed = kernels::rms_norm(x, layer.input_norm.value(), config_.rms_norm_eps);
  const auto h = x + attention(layer, normed, batch, angles, context, cache, cached);
  const auto mlp_in = kernels::rms_norm(h, layer.post_attention_norm.value(), config_.rms_norm_eps);
  const auto gated = kernels::swiglu(linear(layer.gate_proj, mlp_in, context),
                                     linear(layer.up_proj, mlp_in, context));
  return h + linear(layer.down_proj, gated, context);
}

at::Tensor Decoder::hidden_states(const TokenBatch& batch, const tuners::ForwardContext& context,
                                  KvCache* cache, const at::Tensor& checkpoint_anchor) const {
  auto x = at::embedding(embedding_.value(), index_tensor(batch.input_ids, device()));
  const auto angles = rope_.at(batch.positions, device());
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = layers_[i];
    if (checkpoint_anchor.defined()) {
      x = checkpoint(
          [this, &layer, &batch, angles, &context](const at::Tensor& in) {
            return run_layer(layer, in, batch, angles, context, nullptr, 0);
          },
          x, checkpoint_anchor);
    } else {
      x = run_layer(layer, x, batch, angles, context, cache ? &cache->layers[i] : nullptr,
                    cache ? cache->length : 0);
    }
  }
  if (cache != nullptr) cache->length += static_cast<int64_t>(batch.input_ids.size());
  return x;
}

at::Tensor Decoder::logits(const at::Tensor& hidden, const tuners::ForwardContext& context) const {
  return linear(lm_head_, kernels::rms_norm(hidden, final_norm_.value(), config_.rms_norm_eps),
                context);
}

at::Tensor Decoder::loss(const TokenBatch& batch, const tuners::ForwardContext& context,
                         double scale, kernels::CrossEntropySums* sums,
                         const at::Tensor& checkpoint_anchor) const {
  const auto labelled = labelled_rows(batch);
  const auto rows = index_tensor(labelled.rows, device());
  const auto targets = index_tensor(labelled.targets, device());
  const auto hidden =
      hidden_states(batch, context, nullptr, checkpoint_anchor).index_select(0, rows);
  if (lm_head_.tuners.empty()) {
    const auto normed = kernels::rms_norm(hidden, final_norm_.value(), config_.rms_norm_eps);
    return kernels::linear_cross_entropy(normed, lm_head_.weight.value(), targets, scale, sums);
  }
  auto head_context = context;
  if (context.token_keys.defined()) {
    head_context.token_keys = context.token_keys.index_select(0, rows.to(at::kCPU));
  }
  const auto wide = logits(hidden, head_context).to(at::kFloat);
  const auto total = at::cross_entropy_loss(wide, targets, {}, at::Reduction::Sum);
  if (sums != nullptr) {
    sums->loss += total.item<double>();
    sums->rows += targets.size(0);
    sums->correct += wide.detach().argmax(-1).eq(targets).sum().item<int64_t>();
  }
  return total * scale;
}

KvCache Decoder::make_cache(int64_t capacity) const {
  KvCache cache;
  cache.capacity = capacity;
  const auto options = embedding_.base.options();
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto rows = [&] {
      return at::empty({capacity, config_.num_key_value_heads, config_.head_dim}, options);
    };
    cache.layers.push_back({rows(), rows()});
  }
  return cache;
}

std::vector<tuners::LinearSite*> Decoder::linear_sites() {
  std::vector<tuners::LinearSite*> sites;
  for (auto& layer : layers_) {
    sites.insert(sites.end(), {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj,
                               &layer.gate_proj, &layer.up_proj, &layer.down_proj});
  }
  sites.push_back(&lm_head_);
  return sites;
}

std::vector<tuners::ParameterSlot*> Decoder::parameters() {
  std::vector<tuners::ParameterSlot*> slots{&embedding_};
  const auto add = [&](tuners::ParameterSlot& slot) {
    if (slot.base.defined()) slots.push_back(&slot);
  };
  const auto add_site = [&](tuners::LinearSite& site) {
    add(site.weight);
    add(site.bias);
  };
  for (auto& layer : layers_) {
    for (auto* site : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj}) add_site(*site);
    add(layer.q_norm);
    add(layer.k_norm);
    for (auto* site : {&layer.gate_proj, &layer.up_proj, &layer.down_proj}) add_site(*site);
    add(layer.input_norm);
    add(layer.post_attention_norm);
  }
  add(final_norm_);
  add_site(lm_head_);
  return slots;
}

}  // namespace tunefleet::models
