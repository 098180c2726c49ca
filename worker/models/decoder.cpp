#include "worker/models/decoder.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "worker/kernels/attention.h"
#include "worker/kernels/dropout.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/linear_token_losses.h"
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
                    double eps, tuners::Kernels chosen) {
  auto heads = x.view({x.size(0), x.size(1) / head_dim, head_dim});
  return norm.base.defined() ? kernels::rms_norm(heads, norm.value(), eps, chosen) : heads;
}

/// Appends to a cache and returns all rows so far.
at::Tensor append(at::Tensor& cache, int64_t cached, const at::Tensor& rows) {
  TORCH_CHECK(cached + rows.size(0) <= cache.size(0), "the cache is full: ", cache.size(0),
              " tokens");
  cache.narrow(0, cached, rows.size(0)).copy_(rows);
  return cache.narrow(0, 0, cached + rows.size(0));
}

}  // namespace

at::Tensor Decoder::attend(size_t index, const tuners::AttentionInput& input, const Pass& pass,
                           const tuners::KeysValues* prefix) const {
  const double scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
  const auto& layer = *layers_.all()[index];
  const auto product =
      pass.context.training ? kernels::Product::kFast : kernels::Product::kReference;
  if (prefix == nullptr) {
    return kernels::causal_attention(input.q, input.k, input.v, *input.boundaries, layer.window,
                                     scale, product);
  }
  // A tuner may have cut the sequences into groups: then each group sees the prefix.
  const bool cut = input.boundaries != pass.context.boundaries;
  const auto places =
      cut ? VirtualTokens::before_each(*input.boundaries,
                                       std::vector<int32_t>(static_cast<size_t>(input.q.size(0))),
                                       pass.prefix.count, device())
          : pass.prefix;
  // The prefix's own rows of queries are there for their places only and fall away again.
  const auto none = at::zeros({places.count, input.q.size(1), input.q.size(2)},
                              input.q.options().requires_grad(false));
  const auto before = [&](const at::Tensor& rows) {
    const auto groups = input.k.size(1) / rows.size(1);
    return groups == 1 ? rows : rows.repeat_interleave(groups, 1);
  };
  return places.without(kernels::causal_attention(
      places.with(none, input.q), places.with(before(prefix->keys), input.k),
      places.with(before(prefix->values), input.v), *places.boundaries, layer.window, scale,
      product));
}

at::Tensor Decoder::self_attention(size_t index, const at::Tensor& x, const Pass& pass,
                                   const LayerState& state) const {
  const auto& layer = *layers_.all()[index];
  const int64_t dim = config_.head_dim;
  const auto projected = linears({&layer.q_proj, &layer.k_proj, &layer.v_proj}, x, pass.context);
  const auto chosen = pass.context.base_kernels;
  const auto rotated = [&](const at::Tensor& y, const tuners::ParameterSlot& norm) {
    return kernels::rope(heads_of(y, dim, norm, config_.rms_norm_eps, chosen), pass.angles.cos,
                         pass.angles.sin, chosen);
  };
  tuners::AttentionInput input{
      .q = rotated(projected[0], layer.q_norm),
      .k = rotated(projected[1], layer.k_norm),
      .v = projected[2].view({x.size(0), config_.num_key_value_heads, dim}),
      .boundaries = pass.context.boundaries};
  if (state.cache != nullptr) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
    const auto keys = append(state.cache->keys, pass.cached, input.k);
    const auto values = append(state.cache->values, pass.cached, input.v);
    return linear(layer.o_proj,
                  kernels::cached_attention(input.q, keys, values, layer.window, scale),
                  pass.context);
  }
  const auto& tuners = layer.attention.tuners;
  std::function<at::Tensor(const tuners::AttentionInput&, size_t)> run =
      [&](const tuners::AttentionInput& in, size_t first) -> at::Tensor {
    if (first == tuners.size()) return attend(index, in, pass, state.prefix);
    const auto next = [&](const tuners::AttentionInput& more) { return run(more, first + 1); };
    return tuners[first]->forward(in, next, pass.context);
  };
  return linear(layer.o_proj, run(input, 0), pass.context);
}

at::Tensor Decoder::mlp(const DecoderLayer& layer, const at::Tensor& x,
                        const tuners::ForwardContext& context) const {
  const auto wide = linears({&layer.gate_proj, &layer.up_proj}, x, context);
  return linear(layer.down_proj, kernels::swiglu(wide[0], wide[1], context.base_kernels), context);
}

at::Tensor Decoder::normed(const at::Tensor& x, const tuners::ParameterSlot& weight,
                           const tuners::ForwardContext& context) const {
  return kernels::rms_norm(x, weight.value(), config_.rms_norm_eps, context.base_kernels);
}

at::Tensor Decoder::run_layer(size_t index, const at::Tensor& x, const Pass& pass,
                              const LayerState& state) const {
  const auto& layer = *layers_.all()[index];
  const auto norm = [&](const at::Tensor& in, const tuners::ParameterSlot& weight) {
    return normed(in, weight, pass.context);
  };
  const auto attention = [&](const at::Tensor& in) {
    return self_attention(index, in, pass, state);
  };
  const auto feed_forward = [&](const at::Tensor& in) { return mlp(layer, in, pass.context); };
  const auto block = [&](const at::Tensor& in) {
    const auto attended = norm(in, layer.input_norm);
    const auto h = in + run_tuners(layer.self_attn.tuners, attended, attention, pass.context);
    const auto mlp_in = norm(h, layer.post_attention_norm);
    return h + run_tuners(layer.mlp.tuners, mlp_in, feed_forward, pass.context);
  };
  return run_tuners(layer.block.tuners, x, block, pass.context);
}

Decoder::Pass Decoder::make_pass(const TokenBatch& batch, const tuners::ForwardContext& context,
                                 const KvCache* cache) const {
  Pass pass{.context = context, .angles = {}, .prefix = {}, .cached = cache ? cache->length : 0};
  pass.context.boundaries = std::make_shared<const tuners::Boundaries>(batch.boundaries);
  pass.context.dropout_function = &kernels::differentiable_dropout;
  return pass;
}

at::Tensor Decoder::embed(const TokenBatch& batch, Pass& pass, VirtualTokens& prompt) const {
  const auto table = [&](const at::Tensor& ids) {
    return kernels::embedding(embed_tokens_.weight.value(), ids);
  };
  auto x = run_tuners(embed_tokens_.tuners, index_tensor(batch.input_ids, device()), table,
                      pass.context);
  auto positions = batch.positions;
  if (const auto* tuner = sequence_.tuner; tuner != nullptr && pass.cached == 0) {
    auto longer = VirtualTokens::before_each(batch.boundaries, batch.positions,
                                             tuner->virtual_tokens(), device());
    if (const auto virtual_rows = tuner->embeddings(pass.context); virtual_rows.defined()) {
      x = longer.with(virtual_rows, x);
      pass.context.boundaries = longer.boundaries;
      pass.context.token_keys = longer.token_keys(pass.context.token_keys);
      positions = longer.positions;
      prompt = std::move(longer);
    } else {
      for (auto& position : positions) position += static_cast<int32_t>(longer.count);
      pass.prefix = std::move(longer);
    }
  }
  pass.angles = rope_.at(positions, device());
  return x;
}

void Decoder::start_cache(KvCache& cache, const std::vector<tuners::KeysValues>& prefix) const {
  for (size_t i = 0; i < cache.layers.size(); ++i) {
    append(cache.layers[i].keys, 0, prefix[i].keys);
    append(cache.layers[i].values, 0, prefix[i].values);
  }
  cache.length = sequence_.tuner->virtual_tokens();
}

at::Tensor Decoder::hidden_states(const TokenBatch& batch, const tuners::ForwardContext& context,
                                  KvCache* cache, const at::Tensor& checkpoint_anchor) const {
  VirtualTokens prompt;
  const auto x = all_states(batch, context, cache, checkpoint_anchor, prompt);
  return prompt.count > 0 ? prompt.without(x) : x;
}

at::Tensor Decoder::all_states(const TokenBatch& batch, const tuners::ForwardContext& context,
                               KvCache* cache, const at::Tensor& checkpoint_anchor,
                               VirtualTokens& prompt) const {
  const auto pass = std::make_shared<Pass>(make_pass(batch, context, cache));
  auto x = embed(batch, *pass, prompt);
  std::vector<tuners::KeysValues> prefix;
  if (pass->prefix.count > 0) {
    prefix = sequence_.tuner->keys_values(pass->context);
    TORCH_CHECK(prefix.size() == layers_.all().size(), "the prefix is for a model of ",
                prefix.size(), " layers, this one has ", layers_.all().size());
  }
  if (cache != nullptr && !prefix.empty()) {
    start_cache(*cache, prefix);
    pass->cached = cache->length;
  }
  for (size_t i = 0; i < layers_.all().size(); ++i) {
    const auto* own_prefix = prefix.empty() ? nullptr : &prefix[i];
    if (checkpoint_anchor.defined()) {
      x = checkpointed_layer(i, x, pass, own_prefix, checkpoint_anchor);
    } else {
      x = run_layer(i, x, *pass,
                    {.cache = cache ? &cache->layers[i] : nullptr, .prefix = own_prefix});
    }
  }
  if (cache != nullptr) cache->length += x.size(0);
  return x;
}

at::Tensor Decoder::checkpointed_layer(size_t index, const at::Tensor& x,
                                       const std::shared_ptr<const Pass>& pass,
                                       const tuners::KeysValues* prefix,
                                       const at::Tensor& anchor) const {
  std::vector<at::Tensor> inputs{x};
  if (prefix != nullptr) inputs.insert(inputs.end(), {prefix->keys, prefix->values});
  const auto segment = [this, index, pass](const std::vector<at::Tensor>& in) {
    if (in.size() == 1) return run_layer(index, in[0], *pass, {});
    const tuners::KeysValues own_prefix{.keys = in[1], .values = in[2]};
    return run_layer(index, in[0], *pass, {.cache = nullptr, .prefix = &own_prefix});
  };
  return checkpoint(segment, inputs, anchor);
}

at::Tensor Decoder::logits(const at::Tensor& hidden, const tuners::ForwardContext& context) const {
  auto own = context;
  own.dropout_function = &kernels::differentiable_dropout;
  return linear(lm_head_, normed(hidden, final_norm_, own), own);
}

Decoder::LabelledStates Decoder::labelled_states(const TokenBatch& batch,
                                                 const tuners::ForwardContext& context,
                                                 const at::Tensor& checkpoint_anchor) const {
  VirtualTokens prompt;
  const auto states = all_states(batch, context, nullptr, checkpoint_anchor, prompt);
  // The last virtual token of a sequence predicts its first real one.
  const auto longer = prompt.count > 0 ? prompt.labelled(batch) : batch;
  auto labelled = labelled_rows(longer);
  const auto rows = index_tensor(labelled.rows, device());
  LabelledStates out{.hidden = states.index_select(0, rows),
                     .targets = index_tensor(labelled.targets, device()),
                     .in_sequence = labelled.in_sequence,
                     .context = context};
  if (context.token_keys.defined()) {
    const auto keys = prompt.count > 0 ? prompt.token_keys(context.token_keys) : context.token_keys;
    out.context.token_keys = keys.index_select(0, rows.to(at::kCPU));
  }
  return out;
}

/// Whether the loss can go without the logits of all rows.
bool Decoder::fuses_head(const tuners::ForwardContext& context) const {
  return lm_head_.tuners.empty() && context.base_kernels == tuners::Kernels::kFused;
}

at::Tensor Decoder::loss(const TokenBatch& batch, const tuners::ForwardContext& context,
                         double scale, kernels::CrossEntropySums* sums,
                         const at::Tensor& checkpoint_anchor) const {
  const auto [hidden, targets, in_sequence, own] =
      labelled_states(batch, context, checkpoint_anchor);
  if (!fuses_head(context))
    return kernels::cross_entropy(logits(hidden, own), targets, scale, sums);
  return kernels::linear_cross_entropy(normed(hidden, final_norm_, context),
                                       lm_head_.weight.value(), targets, scale, sums);
}

TokenLosses Decoder::token_losses(const TokenBatch& batch, const tuners::ForwardContext& context,
                                  const at::Tensor& checkpoint_anchor) const {
  const auto states = labelled_states(batch, context, checkpoint_anchor);
  if (!fuses_head(context)) {
    return {kernels::token_losses(logits(states.hidden, states.context), states.targets),
            states.in_sequence};
  }
  return {kernels::linear_token_losses(normed(states.hidden, final_norm_, context),
                                       lm_head_.weight.value(), states.targets),
          states.in_sequence};
}

KvCache Decoder::make_cache(int64_t capacity) const {
  KvCache cache;
  cache.capacity = capacity + (sequence_.tuner ? sequence_.tuner->virtual_tokens() : 0);
  const auto options = embed_tokens_.weight.base.options();
  for (size_t i = 0; i < layers_.all().size(); ++i) {
    const auto rows = [&] {
      return at::empty({cache.capacity, config_.num_key_value_heads, config_.head_dim}, options);
    };
    cache.layers.push_back({rows(), rows()});
  }
  return cache;
}

std::vector<tuners::LinearSite*> Decoder::linear_sites() {
  std::vector<tuners::LinearSite*> sites;
  for (auto* layer : layers_.all()) {
    const auto own = layer->linear_sites();
    sites.insert(sites.end(), own.begin(), own.end());
  }
  sites.push_back(&lm_head_);
  return sites;
}

std::vector<tuners::ParameterSlot*> Decoder::parameters() {
  std::vector<tuners::ParameterSlot*> slots{&embed_tokens_.weight};
  for (auto* layer : layers_.all()) {
    const auto own = layer->parameters();
    slots.insert(slots.end(), own.begin(), own.end());
  }
  slots.push_back(&final_norm_);
  slots.push_back(&lm_head_.weight);
  return slots;
}

std::vector<tuners::ModuleSite*> Decoder::module_sites() {
  std::vector<tuners::ModuleSite*> sites;
  for (auto* layer : layers_.all())
    sites.insert(sites.end(), {&layer->block, &layer->self_attn, &layer->mlp});
  return sites;
}

std::vector<tuners::AttentionSite*> Decoder::attention_sites() {
  std::vector<tuners::AttentionSite*> sites;
  for (auto* layer : layers_.all()) sites.push_back(&layer->attention);
  return sites;
}

}  // namespace tunefleet::models
