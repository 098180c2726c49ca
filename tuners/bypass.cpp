#include "tuners/bypass.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

using Kind = BypassTunerPlan::Kind;
using Weight = BypassTunerPlan::Weight;

bool has_layers(const BypassTunerPlan& plan) {
  return plan.kind == Kind::kResAdapter || plan.kind == Kind::kResGroupAdapter;
}

void check_channels(const at::Tensor& x, bool picture, int64_t channels, const char* what) {
  const bool fits = picture ? x.dim() == 4 && x.size(1) == channels
                            : x.dim() >= 2 && x.size(x.dim() == 4 ? 1 : -1) == channels;
  if (fits) return;
  throw std::invalid_argument(c10::str("what reaches the bypass does not fit its option dims: ",
                                       what, " of ", channels, ", tensor ", x.sizes()));
}

/// ms-swift's start of a group adapter: biases N(0, 1).
TrainedLinear group_layer(int64_t in, int64_t out, LayerStart start, const TunerPlace& place) {
  TrainedLinear layer = TrainedLinear::make(in, out, start, place);
  if (start == LayerStart::kZero) return layer;
  const RandomStream stream(place.seed, stream_id(place.path + ".bias"));
  layer.bias = trained(normal_values({out}, 1.0, stream), place);
  return layer;
}

}  // namespace

BypassTuner::BypassTuner(const BypassTunerPlan& plan, const TunerPlace& place) : plan_(plan) {
  const TunerPlace ln1 = place.inside("ln1"), ln2 = place.inside("ln2");
  const auto last = [&](LayerStart start) { return plan.zero_init ? LayerStart::kZero : start; };
  if (plan.kind == Kind::kResAdapter) {
    ln1_ = TrainedLinear::make(plan.in, plan.width, LayerStart::kXavier, ln1);
    ln2_ = TrainedLinear::make(plan.width, plan.out, last(LayerStart::kXavier), ln2);
  }
  if (plan.kind == Kind::kResGroupAdapter) {
    ln1_ = group_layer(plan.in, plan.width, LayerStart::kKaiming, ln1);
    ln2_ = group_layer(plan.width, plan.out, last(LayerStart::kKaiming), ln2);
  }
  if (plan.kind == Kind::kUpsample && plan.conv_channels > 0) {
    conv_ = TrainedConv::make({.in = plan.in, .out = plan.conv_channels, .kernel = 3, .padding = 1},
                              LayerStart::kZero, place.inside("conv"));
  }
  if (!has_layers(plan)) return;
  const TunerPlace scaling = place.inside("scaling");
  if (plan.weight == Weight::kGate)
    gate_ = TrainedLinear::make(plan.weight_dim, 1, LayerStart::kKaiming, scaling);
  if (plan.weight == Weight::kScale) scaling_ = trained(at::ones({1}), scaling);
  if (plan.weight == Weight::kScaleChannel)
    scaling_ = trained(at::ones({plan.weight_dim}), scaling);
}

at::Tensor BypassTuner::forward(const at::Tensor& x, at::OptionalIntArrayRef size) const {
  if (plan_.zero) return {};
  if (plan_.kind == Kind::kResAdapter) return adapted(x);
  if (plan_.kind == Kind::kResGroupAdapter) return group_adapted(x);
  if (plan_.kind == Kind::kUpsample) return upsampled(x, size);
  return x;
}

/// update [B, n, C] or [n, C].
at::Tensor BypassTuner::weighted(const at::Tensor& update) const {
  if (plan_.weight == Weight::kScalar) return update.mul(plan_.scalar);
  if (scaling_.defined()) return update.mul(scaling_);
  if (!gate_.weight.defined()) return update;
  if (update.dim() != 3) {
    throw std::invalid_argument(c10::str(
        "adapter_weight gate needs positions to average over, [B, n, C]: ", update.sizes()));
  }
  return update.mul(gate_(update).sigmoid().mean(1, /*keepdim=*/true));
}

at::Tensor BypassTuner::adapted(const at::Tensor& x) const {
  check_channels(x, false, plan_.in, "res_adapter");
  const at::Tensor hidden = at::gelu(ln1_(channels_last(x.to(at::kFloat))));
  const at::Tensor update = channels_first(weighted(ln2_(hidden)), x);
  return x.add(update).to(x.scalar_type());
}

at::Tensor BypassTuner::group_adapted(const at::Tensor& x) const {
  check_channels(x, true, plan_.in * plan_.heads, "res_group_adapter");
  // [B, n, c * heads + h] -> [B, n, h, c]: the layers act on c.
  const at::Tensor split =
      channels_last(x.to(at::kFloat)).unflatten(-1, {plan_.in, plan_.heads}).transpose(-1, -2);
  const at::Tensor update = ln2_(at::gelu(ln1_(split))).transpose(-1, -2).flatten(-2);
  return x.add(channels_first(weighted(update), x)).to(x.scalar_type());
}

at::Tensor BypassTuner::upsampled(const at::Tensor& x, at::OptionalIntArrayRef size) const {
  check_channels(x, true, plan_.in, "upsample");
  const std::vector<int64_t> target =
      size.has_value() ? size->vec() : std::vector<int64_t>{2 * x.size(2), 2 * x.size(3)};
  const at::Tensor larger = at::upsample_nearest2d(x.to(at::kFloat), target);
  return (conv_.weight.defined() ? conv_(larger) : larger).to(x.scalar_type());
}

void BypassTuner::append(const std::string& name, std::vector<LayerTensor>& tensors) const {
  if (ln1_.weight.defined()) {
    ln1_.append(name + ".ln1", tensors);
    ln2_.append(name + ".ln2", tensors);
  }
  if (gate_.weight.defined()) gate_.append(name + ".scaling", tensors);
  if (scaling_.defined())
    tensors.push_back({.name = name + ".scaling", .tensor = scaling_, .decay = false});
  if (conv_.weight.defined()) conv_.append(name + ".conv", tensors);
}

BypassBlock::BypassBlock(const BypassBlockPlan& plan, const TunerPlace& place)
    : lateral_(plan.lateral, place.inside("lateral_tuner.tuner")),
      vertical_(plan.vertical, place.inside("vertical_tuner.tuner")) {
  if (plan.aux) aux_.emplace(*plan.aux, place.inside("aux_tuner.tuner"));
}

at::Tensor BypassBlock::forward(const at::Tensor& stem, const at::Tensor& x,
                                at::OptionalIntArrayRef next_size) const {
  const at::Tensor side = lateral_.forward(stem);
  const at::Tensor straight = vertical_.forward(x);
  at::Tensor sum = !side.defined() ? straight : !straight.defined() ? side : side.add(straight);
  return aux_ ? aux_->forward(sum, next_size) : sum;
}

void BypassBlock::append(const std::string& name, std::vector<LayerTensor>& tensors) const {
  lateral_.append(name + ".lateral_tuner.tuner", tensors);
  vertical_.append(name + ".vertical_tuner.tuner", tensors);
  if (aux_) aux_->append(name + ".aux_tuner.tuner", tensors);
}

}  // namespace tunefleet::tuners
