#include "tuners/lora_conv.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>
#include <utility>

#include "tuners/dora.h"
#include "tuners/random.h"

namespace tunefleet::tuners {
namespace {

void check_groups(const ConvSite& site, const LoraLinear::Settings& settings) {
  if (settings.r < 1) throw std::invalid_argument(c10::str("LoRA rank is below 1: ", settings.r));
  if (settings.r % site.groups != 0) {
    throw std::invalid_argument(
        c10::str("LoRA rank must be a multiple of the convolution's groups: r ", settings.r,
                 ", groups ", site.groups));
  }
  if (settings.dora && site.groups > 1) {
    throw std::invalid_argument(
        c10::str("DoRA does not act on convolutions with groups: groups ", site.groups));
  }
}

}  // namespace

LoraConv::LoraConv(const ConvSite& site, const std::string& adapter_name,
                   LoraLinear::Settings settings, uint64_t seed)
    : site_(site),
      settings_(std::move(settings)),
      base_(site.weight.base),
      stream_(stream_id(site.path + ".lora_dropout." + adapter_name)),
      norm_(base_.flatten(1)) {
  check_groups(site, settings_);
  const at::NoGradGuard no_grad;
  const int64_t r = settings_.r, out = base_.size(0), in = base_.size(1) * site.groups;
  const auto factors = drawn_factors(settings_.init, {r, in, base_.size(2), base_.size(3)},
                                     {out, r / site.groups, 1, 1}, {site.path, adapter_name, seed});
  const auto placed = [&](const at::Tensor& values) {
    return values.to(base_.device(), settings_.dtype, false, true).set_requires_grad(true);
  };
  a_ = placed(factors.a);
  b_ = placed(factors.b);
  if (settings_.bias) bias_ = placed(at::zeros({out}, at::kFloat));
  if (!settings_.dora) return;
  magnitude_ = placed(norm_.of(additions()).view({1, out, 1, 1}));
}

at::Tensor LoraConv::convolved(const at::Tensor& x, const at::Tensor& weight,
                               int64_t groups) const {
  return at::conv2d(x, weight, {}, site_.stride, site_.padding, site_.dilation, groups);
}

at::Tensor LoraConv::forward(const at::Tensor& x, const TensorNext& next,
                             const ForwardContext& context) const {
  const auto y = next(x);
  const auto dtype = y.scalar_type();
  const bool drops = context.training && settings_.dropout > 0.0;
  const auto dropped = context.dropout(x, stream_, settings_.dropout);
  const auto low =
      at::conv2d(convolved(dropped.to(settings_.dtype), a_, 1), b_, bias_, at::IntArrayRef({1, 1}),
                 at::IntArrayRef({0, 0}), at::IntArrayRef({1, 1}), site_.groups)
          .mul(settings_.scaling);
  if (!magnitude_.defined()) return y.add(low).to(dtype);
  auto plain = drops ? convolved(dropped, base_, site_.groups) : y;
  if (!drops && site_.bias.base.defined()) plain = y.sub(site_.bias.value().view({-1, 1, 1}));
  return dora_output(y, plain, low, rescaling()).to(dtype);
}

std::vector<ScaledFactors> LoraConv::additions() const {
  return {{.a = a_.flatten(1), .b = b_.flatten(1), .scaling = settings_.scaling}};
}

at::Tensor LoraConv::rescaling() const {
  return dora_scale(magnitude_, norm_.of(additions())).view({-1, 1, 1});
}

at::Tensor LoraConv::delta_weight() const {
  const auto b = b_.to(at::kFloat).flatten(1), a = a_.to(at::kFloat).flatten(1);
  return b.matmul(a).view_as(base_).mul(settings_.scaling);
}

bool LoraConv::can_merge() const {
  return site_.groups == 1 && (!bias_.defined() || site_.bias.base.defined());
}

void LoraConv::merge_into(LayerWeights& weights) const {
  weights.weight = weights.weight.add(delta_weight());
  if (magnitude_.defined()) weights.weight = weights.weight.mul(rescaling().unsqueeze(1));
  if (bias_.defined()) weights.bias = weights.bias.add(bias_.to(at::kFloat), settings_.scaling);
}

std::vector<LayerTensor> LoraConv::tensors() const {
  std::vector<LayerTensor> tensors{{.name = "lora_A.weight", .tensor = a_},
                                   {.name = "lora_B.weight", .tensor = b_}};
  if (bias_.defined()) tensors.push_back({.name = "lora_B.bias", .tensor = bias_, .decay = false});
  if (magnitude_.defined())
    tensors.push_back({.name = "lora_magnitude_vector", .tensor = magnitude_});
  return tensors;
}

}  // namespace tunefleet::tuners
