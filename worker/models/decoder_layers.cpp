#include "worker/models/decoder_layers.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace tunefleet::models {
namespace {

/// A layer of its own tensors.
class DecoderBlock : public tuners::BlockCopy {
 public:
  explicit DecoderBlock(DecoderLayer layer)
      : layer_(std::make_unique<DecoderLayer>(std::move(layer))) {}
  std::vector<tuners::ParameterSlot*> parameters() override { return layer_->parameters(); }
  bool owns(const void* part) const override {
    const std::less<> before;
    return !before(part, layer_.get()) && before(part, layer_.get() + 1);
  }
  DecoderLayer& layer() { return *layer_; }
  std::unique_ptr<DecoderLayer> release() { return std::move(layer_); }

 private:
  std::unique_ptr<DecoderLayer> layer_;  ///< Stays where it is when the list takes it over.
};

void set_site_paths(tuners::LinearSite& site, const std::string& path) {
  site.path = path;
  site.weight.path = path + ".weight";
  site.bias.path = path + ".bias";
}

}  // namespace

std::vector<tuners::LinearSite*> DecoderLayer::linear_sites() {
  return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
}

std::vector<tuners::ParameterSlot*> DecoderLayer::parameters() {
  std::vector<tuners::ParameterSlot*> slots;
  const auto add = [&](tuners::ParameterSlot& slot) {
    if (slot.base.defined()) slots.push_back(&slot);
  };
  const auto add_site = [&](tuners::LinearSite* site) {
    add(site->weight);
    add(site->bias);
  };
  for (auto* site : {&q_proj, &k_proj, &v_proj, &o_proj}) add_site(site);
  add(q_norm);
  add(k_norm);
  for (auto* site : {&gate_proj, &up_proj, &down_proj}) add_site(site);
  add(input_norm);
  add(post_attention_norm);
  return slots;
}

void DecoderLayer::set_paths(int64_t index) {
  block.path = "model.layers." + std::to_string(index);
  self_attn.path = attention.path = block.path + ".self_attn";
  mlp.path = block.path + ".mlp";
  set_site_paths(q_proj, self_attn.path + ".q_proj");
  set_site_paths(k_proj, self_attn.path + ".k_proj");
  set_site_paths(v_proj, self_attn.path + ".v_proj");
  set_site_paths(o_proj, self_attn.path + ".o_proj");
  q_norm.path = self_attn.path + ".q_norm.weight";
  k_norm.path = self_attn.path + ".k_norm.weight";
  set_site_paths(gate_proj, mlp.path + ".gate_proj");
  set_site_paths(up_proj, mlp.path + ".up_proj");
  set_site_paths(down_proj, mlp.path + ".down_proj");
  input_norm.path = block.path + ".input_layernorm.weight";
  post_attention_norm.path = block.path + ".post_attention_layernorm.weight";
}

void DecoderLayers::make(int64_t count) {
  own_.clear();
  order_.clear();
  for (int64_t i = 0; i < count; ++i) {
    own_.push_back(std::make_unique<DecoderLayer>());
    own_.back()->set_paths(i);
    own_.back()->origin = i;
    order_.push_back(own_.back().get());
  }
}

std::unique_ptr<tuners::BlockCopy> DecoderLayers::copy(int64_t index) {
  TORCH_CHECK_INDEX(index >= 0 && index < size(), "no such layer: ", index, " of ", size());
  const at::NoGradGuard no_grad;
  DecoderLayer layer = *own_[static_cast<size_t>(index)];
  for (auto* site : layer.linear_sites()) site->tuners.clear();
  for (auto* site : {&layer.block, &layer.self_attn, &layer.mlp}) site->tuners.clear();
  layer.attention.tuners.clear();
  for (auto* slot : layer.parameters()) {
    slot->override_value.reset();
    slot->base = slot->base.detach().clone(at::MemoryFormat::Contiguous);
  }
  return std::make_unique<DecoderBlock>(std::move(layer));
}

void DecoderLayers::insert(const std::vector<Insertion>& insertions) {
  order_.clear();
  for (int64_t i = 0; i < size(); ++i) {
    order_.push_back(own_[static_cast<size_t>(i)].get());
    for (const auto& [after, block] : insertions) {
      if (after == i) order_.push_back(&dynamic_cast<DecoderBlock&>(*block).layer());
    }
  }
  for (size_t i = 0; i < order_.size(); ++i) order_[i]->set_paths(static_cast<int64_t>(i));
}

std::vector<int64_t> DecoderLayers::origins() const {
  std::vector<int64_t> origins;
  for (const auto* layer : order_) origins.push_back(layer->origin);
  return origins;
}

void DecoderLayers::adopt(std::vector<std::unique_ptr<tuners::BlockCopy>> blocks) {
  std::vector<std::unique_ptr<DecoderLayer>> layers = std::exchange(own_, {});
  for (auto& block : blocks) layers.push_back(dynamic_cast<DecoderBlock&>(*block).release());
  for (const auto* wanted : order_) {
    const auto found = std::find_if(layers.begin(), layers.end(),
                                    [&](const auto& layer) { return layer.get() == wanted; });
    TORCH_CHECK(found != layers.end(),
                "a block stands in the list and was not given: ", wanted->block.path);
    own_.push_back(std::move(*found));
  }
}

}  // namespace tunefleet::models
