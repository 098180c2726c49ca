#pragma once

#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tuners/config/lora_options.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// Two layers with Hugging Face's names, random values and plain arithmetic: what the laws of
/// tuners are tested on.
class TinyModel : public BaseModel {
 public:
  static constexpr int64_t kVocab = 11, kHidden = 6, kMlp = 9, kKeyValue = 4;

  explicit TinyModel(at::ScalarType dtype = at::kFloat, bool tied = true) {
    at::manual_seed(7);
    add_parameter("model.embed_tokens.weight", at::randn({kVocab, kHidden}).to(dtype));
    for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
      add_parameter(layer + "input_layernorm.weight", at::ones({kHidden}).to(dtype));
      add_linear(layer + "self_attn.q_proj", kHidden, kHidden, true, dtype);
      add_linear(layer + "self_attn.v_proj", kKeyValue, kHidden, true, dtype);
      add_linear(layer + "self_attn.o_proj", kHidden, kKeyValue, false, dtype);
      add_linear(layer + "mlp.up_proj", kMlp, kHidden, false, dtype);
      add_linear(layer + "mlp.down_proj", kHidden, kMlp, false, dtype);
    }
    add_parameter("model.norm.weight", at::ones({kHidden}).to(dtype));
    add_linear("lm_head", kVocab, kHidden, false, dtype);
    if (tied) site("lm_head").weight.base = parameter("model.embed_tokens.weight").base;
  }

  std::vector<LinearSite*> linear_sites() override {
    std::vector<LinearSite*> sites;
    for (auto& part : parts_) {
      if (part.site) sites.push_back(part.site.get());
    }
    return sites;
  }
  std::vector<ParameterSlot*> parameters() override {
    std::vector<ParameterSlot*> slots;
    for (auto& part : parts_) {
      if (part.slot) slots.push_back(part.slot.get());
      if (part.site) slots.push_back(&part.site->weight);
      if (part.site && part.site->bias.base.defined()) slots.push_back(&part.site->bias);
    }
    return slots;
  }
  std::string output_embedding() const override { return "lm_head"; }
  std::string model_type() const override { return "llama"; }
  std::string name_or_path() const override { return "models/tiny"; }

  LinearSite& site(const std::string& path) {
    for (LinearSite* site : linear_sites()) {
      if (site->path == path) return *site;
    }
    throw std::out_of_range(path);
  }
  ParameterSlot& parameter(const std::string& path) {
    for (ParameterSlot* slot : parameters()) {
      if (slot->path == path) return *slot;
    }
    throw std::out_of_range(path);
  }

  /// Logits [N, kVocab] of ids [N].
  at::Tensor forward(const at::Tensor& ids) {
    at::Tensor h = value("model.embed_tokens.weight").index_select(0, ids);
    for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
      const at::Tensor x = h.mul(value(layer + "input_layernorm.weight"));
      const at::Tensor v = run(layer + "self_attn.v_proj", x);
      const at::Tensor gate = run(layer + "self_attn.q_proj", x).sigmoid();
      h = h.add(run(layer + "self_attn.o_proj", v).mul(gate));
      h = h.add(run(layer + "mlp.down_proj", run(layer + "mlp.up_proj", h).tanh()));
    }
    return run("lm_head", h.mul(value("model.norm.weight")));
  }
  at::Tensor logits() { return forward(at::arange(kVocab)); }

  /// y = x W^T + b + sum scaling B A x, in plain operations.
  at::Tensor run(const std::string& path, const at::Tensor& x) {
    const LinearSite& at = site(path);
    at::Tensor y = x.matmul(at.weight.value().t());
    if (at.bias.base.defined()) y = y.add(at.bias.value());
    for (const LinearTuner* tuner : at.tuners) {
      const auto update = tuner->low_rank();
      const at::Tensor low =
          x.to(update->a.scalar_type()).matmul(update->a.t()).matmul(update->b.t());
      y = y.add(low.mul(update->scaling).to(y.scalar_type()));
    }
    return y;
  }

 private:
  struct Part {
    std::unique_ptr<ParameterSlot> slot;
    std::unique_ptr<LinearSite> site;
  };

  const at::Tensor& value(const std::string& path) { return parameter(path).value(); }
  void add_parameter(const std::string& path, const at::Tensor& value) {
    auto slot = std::make_unique<ParameterSlot>();
    slot->path = path;
    slot->base = value;
    parts_.push_back({.slot = std::move(slot), .site = nullptr});
  }
  void add_linear(const std::string& path, int64_t out, int64_t in, bool bias,
                  at::ScalarType dtype) {
    auto site = std::make_unique<LinearSite>();
    site->path = path;
    site->weight.path = path + ".weight";
    site->weight.base = at::randn({out, in}).mul(0.5).to(dtype);
    site->bias.path = path + ".bias";
    if (bias) site->bias.base = at::randn({out}).mul(0.1).to(dtype);
    parts_.push_back({.slot = nullptr, .site = std::move(site)});
  }

  std::vector<Part> parts_;
};

/// Gives every tensor of an adapter random values, so that it is no longer the identity.
template <typename AdapterLike>
void randomise(const AdapterLike& adapter, double deviation = 0.3) {
  const at::NoGradGuard no_grad;
  for (auto& entry : adapter.tensors()) entry.tensor.normal_(0.0, deviation);
}

}  // namespace tunefleet::tuners
