#include "tuners/lora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>
#include <utility>

#include "tuners/dora.h"
#include "tuners/random.h"

namespace tunefleet::tuners {

LoraLinear::LoraLinear(const LinearSite& site, const std::string& adapter_name, Settings settings,
                       uint64_t seed)
    : site_(site),
      settings_(std::move(settings)),
      base_(site.weight.base),
      stream_(stream_id(site.path + ".lora_dropout." + adapter_name)),
      norm_(base_) {
  if (settings_.r < 1) throw std::invalid_argument(c10::str("LoRA rank is below 1: ", settings_.r));
  const at::NoGradGuard no_grad;
  make_factors({.path = site.path, .adapter_name = adapter_name, .seed = seed});
  const auto options = base_.options().dtype(settings_.dtype);
  if (settings_.bias) bias_ = at::zeros({site.out_features()}, options).set_requires_grad(true);
  if (settings_.dora) {
    magnitude_ = norm_.of(additions()).to(settings_.dtype, false, true).set_requires_grad(true);
  }
}

void LoraLinear::make_factors(const LoraDraw& draw) {
  const int64_t in = site_.in_features(), out = site_.out_features(), r = settings_.r;
  const auto base_init = base_init_of(settings_.init);
  const auto factors = base_init ? base_factors(*base_init, base_, r, settings_.scaling, draw)
                                 : drawn_factors(settings_.init, {r, in}, {out, r}, draw);
  const auto placed = [&](const at::Tensor& values) {
    return values.to(base_.device(), settings_.dtype, false, true).set_requires_grad(true);
  };
  a_ = placed(factors.a);
  b_ = placed(factors.b);
  if (base_init) start_ = {factors.a.to(base_.device()), factors.b.to(base_.device())};
}

std::vector<ScaledFactors> LoraLinear::additions() const {
  std::vector<ScaledFactors> all{{.a = a_, .b = b_, .scaling = settings_.scaling}};
  if (start_.a.defined())
    all.push_back({.a = start_.a, .b = start_.b, .scaling = -settings_.scaling});
  return all;
}

std::optional<LowRankUpdate> LoraLinear::low_rank() const {
  const bool as_is = settings_.dtype == at::kFloat || settings_.dtype == base_.scalar_type();
  const auto taken = [&](const at::Tensor& t) {
    return as_is || !t.defined() ? t : t.to(at::kFloat);
  };
  LowRankUpdate update{.a = taken(a_),
                       .b = taken(b_),
                       .scaling = settings_.scaling,
                       .dropout = settings_.dropout,
                       .stream = stream_,
                       .bias = taken(bias_)};
  if (start_.a.defined())
    update.more.push_back({.a = start_.a, .b = start_.b, .scaling = -settings_.scaling});
  if (magnitude_.defined()) {
    update.magnitude = magnitude_.to(at::kFloat);
    update.norm = norm_.of(additions());
  }
  return update;
}

at::Tensor LoraLinear::low_rank_output(const at::Tensor& x) const {
  const auto low = at::linear(at::linear(x.to(settings_.dtype), a_), b_);
  return bias_.defined() ? low.add(bias_) : low;
}

at::Tensor LoraLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  auto y = next(x);
  const auto dtype = y.scalar_type();
  if (start_.a.defined()) {
    const auto part = at::linear(at::linear(x.to(at::kFloat), start_.a), start_.b);
    y = y.sub(part, settings_.scaling).to(dtype);
  }
  const bool drops = context.training && settings_.dropout > 0.0;
  const auto dropped = context.dropout(x, stream_, settings_.dropout);
  const auto low = low_rank_output(dropped).mul(settings_.scaling);
  if (!magnitude_.defined()) return y.add(low).to(dtype);
  return rescaled(y, dropped, low, !drops).to(dtype);
}

at::Tensor LoraLinear::rescaling() const { return dora_scale(magnitude_, norm_.of(additions())); }

/// W x' is without what PiSSA starts from.
at::Tensor LoraLinear::rescaled(const at::Tensor& y, const at::Tensor& dropped,
                                const at::Tensor& low, bool same_input) const {
  at::Tensor plain;
  if (same_input) {
    plain = site_.bias.base.defined() ? y.sub(site_.bias.value()) : y;
  } else {
    plain = at::linear(dropped, base_);
    if (start_.a.defined()) {
      const auto part = at::linear(at::linear(dropped.to(at::kFloat), start_.a), start_.b);
      plain = plain.sub(part, settings_.scaling);
    }
  }
  return dora_output(y, plain, low, rescaling());
}

bool LoraLinear::can_merge() const { return !bias_.defined() || site_.bias.base.defined(); }

void LoraLinear::merge_into(LayerWeights& weights) const {
  weights.weight = weights.weight.add(delta_weight());
  if (magnitude_.defined()) weights.weight = weights.weight.mul(rescaling().unsqueeze(1));
  if (bias_.defined()) weights.bias = weights.bias.add(bias_.to(at::kFloat), settings_.scaling);
}

at::Tensor LoraLinear::delta_weight() const {
  auto delta = b_.to(at::kFloat).matmul(a_.to(at::kFloat));
  if (start_.a.defined()) delta = delta.sub(start_.b.matmul(start_.a));
  return delta.mul(settings_.scaling);
}

std::vector<LayerTensor> LoraLinear::tensors() const {
  std::vector<LayerTensor> tensors{{.name = "lora_A.weight", .tensor = a_},
                                   {.name = "lora_B.weight", .tensor = b_}};
  if (bias_.defined()) tensors.push_back({.name = "lora_B.bias", .tensor = bias_, .decay = false});
  if (magnitude_.defined())
    tensors.push_back({.name = "lora_magnitude_vector", .tensor = magnitude_});
  return tensors;
}

}  // namespace tunefleet::tuners
