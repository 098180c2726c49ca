#include "tuners/miss.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "tuners/config/miss_options.h"
#include "tuners/initial_values.h"
#include "tuners/parallel.h"

namespace tunefleet::tuners {
namespace {

/// W [out, in] as [out/r, in, r]: all rows of a block row, cut into pieces of r.
at::Tensor pieces(const at::Tensor& weight, int64_t r) {
  return weight.contiguous().view({weight.size(0) / r, weight.size(1), r});
}

constexpr int64_t kRows = 64;  ///< Of the weight that are worked on while they are in the cache.

/// W_ij M_i + M_i for every block of W [out, in], M [out / r, r, r]: float32.
at::Tensor bat_update(const at::Tensor& weight, const at::Tensor& block) {
  const int64_t r = block.size(2);
  const auto products = at::bmm(pieces(weight, r).to(at::kFloat), block);
  return products.view({-1, r, weight.size(1) / r, r}).add(block.unsqueeze(2)).view(weight.sizes());
}

/// bat_update of a layer's own weight, for values M.
class BatMap : public WeightMap {
 public:
  BatMap(const at::Tensor& weight, int64_t r) : weight_(weight.detach().contiguous()), r_(r) {}

  at::Tensor added_to(const at::Tensor& weight, const Tensors& values) const override {
    if (weight.scalar_type() != at::kFloat) {
      const at::NoGradGuard no_grad;
      return weight.add(bat_update(weight_, values[0]).to(weight.scalar_type()));
    }
    const auto start = pieces(weight, r_), own = pieces(weight_, r_);
    auto sum = at::empty_like(start);
    over_blocks([&](int64_t first, int64_t count) {
      auto part = sum.narrow(0, first, count);
      const auto block = values[0].detach().narrow(0, first, count);
      at::baddbmm_out(part, start.narrow(0, first, count),
                      own.narrow(0, first, count).to(at::kFloat), block);
      part.view({count, r_, -1, r_}).add_(block.unsqueeze(2));
    });
    return sum.view(weight.sizes());
  }

  Tensors gradients(const at::Tensor& grad, const Tensors& values) const override {
    const auto own = pieces(weight_, r_), turned = pieces(grad.to(at::kFloat), r_);
    const auto dblock = at::empty_like(values[0]);
    over_blocks([&](int64_t first, int64_t count) {
      auto part = dblock.narrow(0, first, count);
      const auto rows = turned.narrow(0, first, count);
      at::bmm_out(part, own.narrow(0, first, count).to(at::kFloat).transpose(1, 2), rows);
      part.add_(rows.view({count, r_, -1, r_}).sum(2));
    });
    return {dblock};
  }
  /// Products of r x r blocks are slow: forming the sum twice costs a fifth of a step.
  bool is_kept() const override { return true; }

 private:
  /// Calls work(first block row, block rows), on all threads.
  template <typename Work>
  void over_blocks(const Work& work) const {
    const int64_t all = weight_.size(0) / r_, step = std::max<int64_t>(1, kRows / r_);
    at::parallel_for(0, (all + step - 1) / step, 1, [&](int64_t from, int64_t to) {
      const at::NoGradGuard no_grad;  // a thread's own setting
      for (int64_t i = from; i < to; ++i) work(i * step, std::min(step, all - i * step));
    });
  }

  at::Tensor weight_;
  int64_t r_;
};

using Variant = MissLinear::Variant;

std::vector<int64_t> block_shape(const LinearSite& site, const MissLinear::Settings& settings) {
  const int64_t r = settings.r, out = site.out_features();
  if (settings.variant == Variant::kBat) return {out / r, r, r};
  return {r, settings.variant == Variant::kMini ? settings.mini_r : out};
}

/// What does not fit the layer; empty when everything does.
std::string misfit(const LinearSite& site, const MissLinear::Settings& settings) {
  const int64_t in = site.in_features(), out = site.out_features(), r = settings.r;
  const std::string layer = c10::str(site.path, " is [", out, ", ", in, "]");
  if (r > in) return c10::str("r is larger than the layer's input: r ", r, ", ", layer);
  if (settings.variant == Variant::kBat && (in % r != 0 || out % r != 0)) {
    return c10::str("with bat, r divides inputs and outputs of every target: r ", r, ", ", layer);
  }
  if (settings.variant == Variant::kMini && out % settings.mini_r != 0) {
    return c10::str("mini_r divides the outputs of every target: mini_r ", settings.mini_r, ", ",
                    layer);
  }
  return "";
}

}  // namespace

MissLinear::MissLinear(const LinearSite& site, const std::string& adapter_name, Settings settings,
                       at::Tensor block_sum, uint64_t seed)
    : settings_(std::move(settings)),
      site_(site),
      block_sum_(std::move(block_sum)),
      stream_(stream_id(c10::str(site.path, ".miss_dropout.", adapter_name))) {
  if (const auto wrong = misfit(site, settings_); !wrong.empty())
    throw std::invalid_argument(wrong);
  const at::NoGradGuard no_grad;
  const auto shape = block_shape(site, settings_);
  const RandomStream stream(
      seed, stream_id(c10::str(site.path, ".", settings_.tensor_name, ".", adapter_name)));
  block_ = (settings_.zeros ? at::zeros(shape, at::kFloat)
                            : kaiming_values(shape, site.out_features(), stream))
               .to(site.weight.base.device())
               .set_requires_grad(true);
}

at::Tensor MissLinear::block_sum_matrix(int64_t r, int64_t in, const at::TensorOptions& options) {
  const auto place = at::arange(in, options.dtype(at::kLong)).remainder(r);
  const auto row = at::arange(r, options.dtype(at::kLong)).unsqueeze(1);
  return place.eq(row).to(options.dtype().toScalarType());
}

at::Tensor MissLinear::columns() const {
  if (settings_.variant != Variant::kMini) return block_.t();
  return block_.t().repeat({site_.out_features() / settings_.mini_r, 1});
}

std::optional<LowRankUpdate> MissLinear::low_rank() const {
  if (settings_.variant == Variant::kBat) return std::nullopt;
  return LowRankUpdate{.a = block_sum_,
                       .b = columns(),
                       .scaling = 1.0,
                       .dropout = settings_.dropout,
                       .stream = stream_};
}

std::optional<WeightUpdate> MissLinear::weight_update(const ForwardContext&) const {
  if (settings_.variant != Variant::kBat) return std::nullopt;
  return WeightUpdate{std::make_shared<BatMap>(site_.weight.value(), settings_.r), {block_}};
}

at::Tensor MissLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  const at::Tensor y = next(x);
  if (settings_.variant == Variant::kBat) {
    const auto update = bat_update(site_.weight.value().detach(), block_);
    return y.add(x.matmul(update.t().to(x.scalar_type())).to(y.scalar_type()));
  }
  const at::Tensor dropped = context.dropout(x, stream_, settings_.dropout).to(at::kFloat);
  const at::Tensor sums = dropped.matmul(block_sum_.to(at::kFloat).t());
  return y.add(sums.matmul(columns().t()).to(y.scalar_type()));
}

at::Tensor MissLinear::delta_weight() const {
  if (settings_.variant == Variant::kBat) return bat_update(site_.weight.value().detach(), block_);
  return columns().matmul(block_sum_.to(at::kFloat));
}

std::vector<LayerTensor> MissLinear::tensors() const {
  return {{.name = settings_.tensor_name, .tensor = block_}};
}

namespace {

/// Makes the layers of one adapter.
class LayerMaker {
 public:
  LayerMaker(MissLinear::Settings settings, const AdapterRequest& request)
      : settings_(std::move(settings)), name_(request.name), seed_(request.seed) {}

  Result<std::unique_ptr<LinearLayerTuner>> operator()(const LinearSite& site) {
    if (const auto wrong = misfit(site, settings_); !wrong.empty())
      return fail(ErrorCode::kInvalidArgument, "this layer takes no such miss: " + wrong);
    return std::make_unique<MissLinear>(site, name_, settings_, block_sum(site), seed_);
  }

 private:
  at::Tensor block_sum(const LinearSite& site) {
    if (settings_.variant == Variant::kBat) return {};
    auto& matrix = block_sums_[site.in_features()];
    if (!matrix.defined()) {
      matrix =
          MissLinear::block_sum_matrix(settings_.r, site.in_features(), site.weight.base.options());
    }
    return matrix;
  }

  MissLinear::Settings settings_;
  std::string name_;
  uint64_t seed_;
  std::map<int64_t, at::Tensor> block_sums_;  ///< By width of the input.
};

Variant variant_of(const std::string& init_weights) {
  if (init_weights == "bat") return Variant::kBat;
  return init_weights == "mini" ? Variant::kMini : Variant::kPlain;
}

}  // namespace

Result<std::unique_ptr<Adapter>> make_miss(const TunerOptions& options,
                                           const AdapterRequest& request) {
  const auto& own = options.as<MissOptions>();
  return LinearAdapter::make(options, request,
                             LayerMaker({.variant = variant_of(own.init_weights),
                                         .r = own.r,
                                         .mini_r = own.mini_r,
                                         .dropout = own.miss_dropout,
                                         .zeros = own.init_weights != "false"},
                                        request));
}

Result<std::unique_ptr<Adapter>> make_bone(const TunerOptions& options,
                                           const AdapterRequest& request) {
  const auto& own = options.as<BoneOptions>();
  return LinearAdapter::make(options, request,
                             LayerMaker({.variant = variant_of(own.init_weights),
                                         .r = own.r,
                                         .zeros = own.init_weights != "false",
                                         .tensor_name = "bone_block"},
                                        request));
}

}  // namespace tunefleet::tuners
