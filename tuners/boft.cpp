#include "tuners/boft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include "tuners/initial_values.h"
#include "tuners/oft.h"
#include "tuners/rotation.h"

namespace tunefleet::tuners {

std::vector<int64_t> butterfly_order(const BoftBlocks& blocks, int64_t factor) {
  const int64_t in = blocks.size * blocks.count, half = blocks.size / 2;
  const int64_t halves = int64_t{2} << factor;  // in a group
  std::vector<int64_t> order(static_cast<size_t>(in));
  for (int64_t i = 0; i < in; ++i) {
    const int64_t group = i / (halves * half), chunk = i / half % halves;
    // Even places first: 0 2 4 … 1 3 5 …
    const int64_t place = chunk < halves / 2 ? 2 * chunk : 2 * (chunk - halves / 2) + 1;
    order[static_cast<size_t>(i)] = (group * halves + place) * half + i % half;
  }
  return order;
}

BoftLinear::BoftLinear(const LinearSite& site, const std::string& adapter_name,
                       const BoftOptions& options, BoftBlocks blocks, uint64_t seed)
    : site_(site),
      dropout_(options.boft_dropout),
      stream_(stream_id(c10::str(site.path, ".boft_dropout.", adapter_name))) {
  const at::NoGradGuard no_grad;
  const auto device = site.weight.base.device();
  const int64_t m = options.boft_n_butterfly_factor, out = site.out_features();
  const auto stream = [&](const char* name) {
    return RandomStream(seed, stream_id(c10::str(site.path, name, adapter_name)));
  };
  const std::vector<int64_t> shape{m, blocks.count, blocks.size, blocks.size};
  const bool identity = options.init_weights;
  x_ = (identity ? at::zeros(shape, at::kFloat) : normal_values(shape, 0.1, stream(".boft_R.")))
           .to(device)
           .set_requires_grad(true);
  s_ = (identity ? at::ones({out, 1}, at::kFloat)
                 : normal_values({out, 1}, 0.1, stream(".boft_s.")).add_(1.0))
           .to(device)
           .set_requires_grad(true);
  for (int64_t i = 0; m > 1 && i < m; ++i) {
    const at::Tensor order = at::tensor(butterfly_order(blocks, i), at::kLong);
    out_of_blocks_.push_back(order.to(device));
    into_blocks_.push_back(order.argsort().to(device));
  }
}

at::Tensor BoftLinear::rotations() const {
  const auto flat = x_.flatten(0, 1);
  return cayley(flat.sub(flat.transpose(1, 2)).mul(0.5)).view(x_.sizes());
}

at::Tensor BoftLinear::rotated(const at::Tensor& x, const at::Tensor& d, int64_t factor,
                               bool back) const {
  const auto turn = back ? d.transpose(1, 2) : d;
  if (into_blocks_.empty()) return rotate_blocks(x, turn);
  const auto i = static_cast<size_t>(factor);
  return rotate_blocks(x.index_select(1, into_blocks_[i]), turn).index_select(1, out_of_blocks_[i]);
}

at::Tensor BoftLinear::kept_blocks(const ForwardContext& context) const {
  const auto kept = resting_blocks(x_.size(1), dropout_, stream_, context, x_.device());
  if (!kept.defined()) return {};
  RandomStream draw(context.seed, mix(stream_ + 1, static_cast<uint64_t>(context.step)));
  const auto which = static_cast<int64_t>(draw.next() % static_cast<uint64_t>(factors()));
  auto all = at::ones({factors(), x_.size(1), 1, 1}, kept.options());
  all.select(0, which).copy_(kept);
  return all;
}

at::Tensor BoftLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  auto d = rotations();
  if (const auto kept = kept_blocks(context); kept.defined()) d = d.mul(kept);
  at::Tensor in = x;
  for (int64_t i = factors() - 1; i >= 0; --i) in = rotated(in, d[i], i, /*back=*/false);
  const at::Tensor y = next(in);
  const auto scale = s_.flatten();
  if (!site_.bias.base.defined()) return y.mul(scale).to(y.scalar_type());
  const auto& bias = site_.bias.value();
  return y.sub(bias).mul(scale).add(bias).to(y.scalar_type());
}

void BoftLinear::merge_into(LayerWeights& weights) const {
  const auto d = rotations();
  for (int64_t i = 0; i < factors(); ++i)
    weights.weight = rotated(weights.weight, d[i], i, /*back=*/true);
  weights.weight = weights.weight.mul(s_);
  if (!weights.bias.defined()) return;
  // What inner tuners have made of the bias is scaled, the base's own is not.
  const auto bias = site_.bias.value().to(at::kFloat);
  weights.bias = weights.bias.sub(bias).mul(s_.flatten()).add(bias);
}

std::vector<LayerTensor> BoftLinear::tensors() const {
  return {{.name = "boft_R", .tensor = x_}, {.name = "boft_s", .tensor = s_}};
}

Result<std::unique_ptr<Adapter>> make_boft(const TunerOptions& options,
                                           const AdapterRequest& request) {
  const auto& own = options.as<BoftOptions>();
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const auto blocks = boft_blocks(own, site.in_features(), site.path);
        if (!blocks) return fail(blocks.error());
        return std::make_unique<BoftLinear>(site, request.name, own, *blocks, request.seed);
      });
}

}  // namespace tunefleet::tuners
