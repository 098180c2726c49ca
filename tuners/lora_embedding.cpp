#include "tuners/lora_embedding.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>
#include <utility>

#include "tuners/dora.h"
#include "tuners/initial_values.h"

namespace tunefleet::tuners {

LoraEmbedding::LoraEmbedding(const EmbeddingSite& site, const std::string& adapter_name,
                             LoraLinear::Settings settings, uint64_t seed)
    : settings_(std::move(settings)), norm_(site.weight.base.t()) {
  if (settings_.r < 1) throw std::invalid_argument(c10::str("LoRA rank is below 1: ", settings_.r));
  const at::NoGradGuard no_grad;
  const at::Tensor& base = site.weight.base;
  const auto drawn = [&](const char* factor, at::IntArrayRef shape) {
    return normal_values(shape, 1.0,
                         RandomStream(seed, stream_id(site.path + factor + adapter_name)));
  };
  const auto placed = [&](const at::Tensor& values) {
    return values.to(base.device(), settings_.dtype, false, true).set_requires_grad(true);
  };
  const int64_t rows = base.size(0), width = base.size(1), r = settings_.r;
  a_ = placed(settings_.init == "false" ? drawn(".lora_embedding_A.", {r, rows})
                                        : at::zeros({r, rows}, at::kFloat));
  b_ = placed(drawn(".lora_embedding_B.", {width, r}));
  if (settings_.dora) magnitude_ = placed(norm_.of(additions()));
}

std::vector<ScaledFactors> LoraEmbedding::additions() const {
  return {{.a = a_, .b = b_, .scaling = settings_.scaling}};
}

at::Tensor LoraEmbedding::rescaling() const {
  return dora_scale(magnitude_, norm_.of(additions()));
}

at::Tensor LoraEmbedding::forward(const at::Tensor& ids, const TensorNext& next,
                                  const ForwardContext&) const {
  const auto y = next(ids);
  const auto low = at::embedding(a_.t(), ids).matmul(b_.t()).mul(settings_.scaling);
  if (!magnitude_.defined()) return y.add(low).to(y.scalar_type());
  return y.add(low).mul(rescaling()).to(y.scalar_type());
}

void LoraEmbedding::merge_into(LayerWeights& weights) const {
  const auto delta = b_.to(at::kFloat).matmul(a_.to(at::kFloat)).t();
  weights.weight = weights.weight.add(delta, settings_.scaling);
  if (magnitude_.defined()) weights.weight = weights.weight.mul(rescaling());
}

std::vector<LayerTensor> LoraEmbedding::tensors() const {
  std::vector<LayerTensor> tensors{{.name = "lora_embedding_A", .tensor = a_},
                                   {.name = "lora_embedding_B", .tensor = b_}};
  if (magnitude_.defined())
    tensors.push_back({.name = "lora_magnitude_vector", .tensor = magnitude_});
  return tensors;
}

}  // namespace tunefleet::tuners
