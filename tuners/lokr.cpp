#include "tuners/lokr.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {

LokrLinear::LokrLinear(const LinearSite& site, const std::string& adapter_name,
                       const Settings& settings, uint64_t seed)
    : settings_(settings), dropout_(settings.dropout, site.path, adapter_name) {
  const auto [out1, out2] = factorization(site.out_features(), settings.decompose_factor);
  const auto [in1, in2] = factorization(site.in_features(), settings.decompose_factor);
  const auto made = [&](const std::string& name, int64_t rows, int64_t cols, bool zero) {
    const RandomStream stream(seed, stream_id(site.path + ".lokr_" + name + "." + adapter_name));
    const at::Tensor values =
        zero ? at::zeros({rows, cols}, at::kFloat) : kaiming_values({rows, cols}, cols, stream);
    return values.to(site.weight.base.device()).set_requires_grad(true);
  };
  const bool first_zero = settings.init == "true", second_zero = settings.init == "lycoris";
  const int64_t r = settings.r;
  if (settings.decompose_both && 2 * r < std::max(out1, in1)) {
    w1_ = {.whole = {}, .a = made("w1_a", out1, r, first_zero), .b = made("w1_b", r, in1, false)};
  } else {
    w1_ = {.whole = made("w1", out1, in1, first_zero), .a = {}, .b = {}};
  }
  if (2 * r < std::max(out2, in2)) {
    w2_ = {.whole = {}, .a = made("w2_a", out2, r, false), .b = made("w2_b", r, in2, second_zero)};
  } else {
    w2_ = {.whole = made("w2", out2, in2, second_zero), .a = {}, .b = {}};
  }
}

at::Tensor LokrLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  const at::Tensor y = next(x);
  if (dropout_.skips(context)) return y;
  at::Tensor added = update(x.to(at::kFloat));
  const at::Tensor factors = dropout_.factors(y.size(-1), context, x.device());
  if (factors.defined()) added = added.mul(factors);
  return y.add(added.to(y.scalar_type()));
}

at::Tensor LokrLinear::Factor::applied(const at::Tensor& x) const {
  const bool thin =
      !whole.defined() && 2 * a.size(1) * (a.size(0) + b.size(1)) < a.size(0) * b.size(1);
  return thin ? x.matmul(b.t()).matmul(a.t()) : x.matmul(value().t());
}

at::Tensor LokrLinear::update(const at::Tensor& x) const {
  const at::Tensor w1 = w1_.value().mul(settings_.scaling);
  const int64_t tokens = x.size(0), out1 = w1.size(0), in1 = w1.size(1);
  const at::Tensor rows = w2_.applied(x.reshape({tokens * in1, -1}));  // [N in1, out2]
  return at::bmm(w1.expand({tokens, out1, in1}), rows.view({tokens, in1, -1})).flatten(1, 2);
}

at::Tensor LokrLinear::delta_weight() const {
  return at::kron(w1_.value(), w2_.value()).mul(settings_.scaling);
}

std::vector<LayerTensor> LokrLinear::tensors() const {
  std::vector<LayerTensor> tensors;
  const auto add = [&](const char* name, const Factor& factor) {
    const std::string stem = std::string("lokr_") + name;
    if (factor.whole.defined()) {
      tensors.push_back({.name = stem, .tensor = factor.whole});
    } else {
      tensors.push_back({.name = stem + "_a", .tensor = factor.a});
      tensors.push_back({.name = stem + "_b", .tensor = factor.b});
    }
  };
  add("w1", w1_);
  add("w2", w2_);
  return tensors;
}

Result<std::unique_ptr<Adapter>> make_lokr(const TunerOptions& options,
                                           const AdapterRequest& request) {
  const auto& own = options.as<LokrOptions>();
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const int64_t r = rank_of(own, site.path);
        const LokrLinear::Settings settings{
            .r = r,
            .scaling = alpha_of(own, site.path) / static_cast<double>(r),
            .dropout = {.rank = own.rank_dropout,
                        .module = own.module_dropout,
                        .scale = own.rank_dropout_scale},
            .decompose_both = own.decompose_both,
            .decompose_factor = own.decompose_factor,
            .init = own.init_weights};
        return std::make_unique<LokrLinear>(site, request.name, settings, request.seed);
      });
}

}  // namespace tunefleet::tuners
