#include "tuners/loha.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include "tuners/config/loha_options.h"
#include "tuners/initial_values.h"

namespace tunefleet::tuners {

LohaLinear::LohaLinear(const LinearSite& site, const std::string& adapter_name,
                       const Settings& settings, uint64_t seed)
    : settings_(settings),
      dropout_(settings.dropout, site.path, adapter_name),
      float_base_(site.weight.base.scalar_type() == at::kFloat) {
  const int64_t in = site.in_features(), out = site.out_features(), r = settings.r;
  const auto drawn = [&](const char* name, at::IntArrayRef shape, int64_t fan_in) {
    const RandomStream stream(seed, stream_id(site.path + "." + name + "." + adapter_name));
    return kaiming_values(shape, fan_in, stream);
  };
  const auto finish = [&](at::Tensor values) {
    return values.to(site.weight.base.device()).set_requires_grad(true);
  };
  w1_a_ = finish(drawn("hada_w1_a", {out, r}, r));
  w1_b_ = finish(drawn("hada_w1_b", {r, in}, in));
  w2_a_ = finish(drawn("hada_w2_a", {out, r}, r));
  w2_b_ = finish(settings.start_at_zero ? at::zeros({r, in}, at::kFloat)
                                        : drawn("hada_w2_b", {r, in}, in));
}

/// Forward and backward take 3 r^2 (in + out) multiplications for a token by the two factors, and
/// in * out more than the base's own by the dense update (the gradient of the sum).
bool LohaLinear::prefers_low_rank() const {
  const int64_t in = w1_b_.size(1), out = w1_a_.size(0), r = settings_.r;
  return 3 * r * r * (in + out) <= in * out;
}

at::Tensor LohaLinear::inner_factor() const {
  return w1_b_.unsqueeze(1).mul(w2_b_.unsqueeze(0)).flatten(0, 1);
}

at::Tensor LohaLinear::outer_factor() const {
  return w1_a_.unsqueeze(2).mul(w2_a_.unsqueeze(1)).flatten(1, 2);
}

std::optional<LowRankUpdate> LohaLinear::low_rank() const {
  if (dropout_.any() || !prefers_low_rank()) return std::nullopt;
  return LowRankUpdate{.a = inner_factor(), .b = outer_factor(), .scaling = settings_.scaling};
}

std::optional<WeightUpdate> LohaLinear::weight_update(const ForwardContext&) const {
  // In half precision small updates would vanish in the sum with the weight.
  if (dropout_.any() || !float_base_ || prefers_low_rank()) return std::nullopt;
  const double scaling = settings_.scaling;
  return WeightUpdate{weight_map([scaling](const WeightMap::Tensors& w) {
                        return w[0].matmul(w[1]).mul(w[2].matmul(w[3])).mul(scaling);
                      }),
                      {w1_a_, w1_b_, w2_a_, w2_b_}};
}

at::Tensor LohaLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  const at::Tensor y = next(x);
  if (dropout_.skips(context)) return y;
  const at::Tensor input = x.to(at::kFloat);
  at::Tensor update =
      prefers_low_rank()
          ? input.matmul(inner_factor().t()).matmul(outer_factor().t()).mul(settings_.scaling)
          : input.matmul(delta_weight().t());
  const at::Tensor factors = dropout_.factors(w1_a_.size(0), context, x.device());
  if (factors.defined()) update = update.mul(factors);
  return y.add(update.to(y.scalar_type()));
}

at::Tensor LohaLinear::delta_weight() const {
  return w1_a_.matmul(w1_b_).mul(w2_a_.matmul(w2_b_)).mul(settings_.scaling);
}

std::vector<LayerTensor> LohaLinear::tensors() const {
  return {{.name = "hada_w1_a", .tensor = w1_a_},
          {.name = "hada_w1_b", .tensor = w1_b_},
          {.name = "hada_w2_a", .tensor = w2_a_},
          {.name = "hada_w2_b", .tensor = w2_b_}};
}

Result<std::unique_ptr<Adapter>> make_loha(const TunerOptions& options,
                                           const AdapterRequest& request) {
  const auto& own = options.as<LohaOptions>();
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const int64_t r = rank_of(own, site.path);
        const LohaLinear::Settings settings{
            .r = r,
            .scaling = alpha_of(own, site.path) / static_cast<double>(r),
            .dropout = {.rank = own.rank_dropout, .module = own.module_dropout, .scale = true},
            .start_at_zero = own.init_weights};
        return std::make_unique<LohaLinear>(site, request.name, settings, request.seed);
      });
}

}  // namespace tunefleet::tuners
