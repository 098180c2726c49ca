#include "tuners/vblora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <limits>
#include <stdexcept>

#include "tuners/initial_values.h"
#include "tuners/target_shapes.h"

namespace tunefleet::tuners {
namespace {

/// The dtype in which PEFT stores numbers of vectors.
at::ScalarType index_dtype(int64_t num_vectors) {
  if (num_vectors < (1 << 8)) return at::kByte;
  if (num_vectors < (1 << 15)) return at::kShort;
  return num_vectors < (int64_t{1} << 31) ? at::kInt : at::kLong;
}

std::vector<int64_t> with_last(at::IntArrayRef shape, int64_t last) {
  std::vector<int64_t> whole = shape.vec();
  whole.push_back(last);
  return whole;
}

Status check_widths(const VbloraOptions& options, const LinearSite& site) {
  const int64_t length = options.vector_length;
  if (site.in_features() % length == 0 && site.out_features() % length == 0) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      c10::str("vblora's vector_length must divide the layer's widths: vector_length ", length,
               ", ", site.path, " is [", site.out_features(), ", ", site.in_features(), "]"));
}

}  // namespace

VectorMixture::VectorMixture(at::IntArrayRef shape, const VbloraOptions& options,
                             RandomStream stream, at::Device device)
    : topk_(options.topk) {
  logits_ = normal_values(with_last(shape, options.num_vectors), options.init_logits_std, stream)
                .to(device)
                .set_requires_grad(true);
  if (!options.save_only_topk_weights) return;
  indices_ = at::zeros(with_last(shape, topk_),
                       at::TensorOptions(device).dtype(index_dtype(options.num_vectors)));
  weights_ = at::zeros(with_last(shape, topk_ - 1), at::TensorOptions(device).dtype(at::kFloat));
}

at::Tensor VectorMixture::pieces(const at::Tensor& bank) const {
  const auto [best, indices] = logits_.topk(topk_, -1);
  const at::Tensor weights = at::softmax(best, -1);
  const at::Tensor chosen =
      bank.index_select(0, indices.flatten()).view(with_last(indices.sizes(), bank.size(1)));
  return weights.unsqueeze(-1).mul(chosen).sum(-2);
}

void VectorMixture::store() const {
  const at::NoGradGuard no_grad;
  const auto [best, indices] = logits_.topk(topk_, -1);
  indices_.copy_(indices);
  weights_.copy_(at::softmax(best, -1).slice(-1, 0, topk_ - 1));
}

void VectorMixture::restore() {
  const at::NoGradGuard no_grad;
  const at::Tensor chosen = indices_.to(at::kLong);
  const int64_t vectors = logits_.size(-1);
  if (chosen.numel() > 0 && (chosen.lt(0).logical_or(chosen.ge(vectors))).any().item<bool>()) {
    throw std::invalid_argument(c10::str("vblora names a vector that the bank has not: ",
                                         chosen.max().item<int64_t>(), " of ", vectors));
  }
  const at::Tensor last = weights_.sum(-1, /*keepdim=*/true).neg().add(1.0);
  logits_.fill_(-std::numeric_limits<double>::infinity())
      .scatter_(-1, chosen, at::cat({weights_, last}, -1).log());
}

VbloraLinear::VbloraLinear(const LinearSite& site, const std::string& adapter_name,
                           const VbloraOptions& options, const at::Tensor& bank, uint64_t seed)
    : store_mixtures_(options.save_only_topk_weights),
      dropout_(options.vblora_dropout),
      stream_(stream_id(site.path + ".vblora_dropout." + adapter_name)),
      bank_(bank),
      mixture_a_({options.r, site.in_features() / options.vector_length}, options,
                 RandomStream(seed, stream_id(site.path + ".vblora_logits_A." + adapter_name)),
                 site.weight.base.device()),
      mixture_b_({site.out_features() / options.vector_length, options.r}, options,
                 RandomStream(seed, stream_id(site.path + ".vblora_logits_B." + adapter_name)),
                 site.weight.base.device()) {}

at::Tensor VbloraLinear::a() const { return mixture_a_.pieces(bank_).flatten(1, 2); }

at::Tensor VbloraLinear::b() const {
  return mixture_b_.pieces(bank_).transpose(1, 2).flatten(0, 1);
}

std::optional<LowRankUpdate> VbloraLinear::low_rank() const {
  return LowRankUpdate{.a = a(), .b = b(), .scaling = 1.0, .dropout = dropout_, .stream = stream_};
}

at::Tensor VbloraLinear::forward(const at::Tensor& x, const LinearNext& next,
                                 const ForwardContext& context) const {
  const at::Tensor input = context.dropout(x, stream_, dropout_).to(at::kFloat);
  const at::Tensor update = input.matmul(a().t()).matmul(b().t());
  const at::Tensor y = next(x);
  return y.add(update.to(y.scalar_type()));
}

at::Tensor VbloraLinear::delta_weight() const { return b().matmul(a()); }

std::vector<LayerTensor> VbloraLinear::tensors() const {
  std::vector<LayerTensor> tensors;
  const auto add = [&](const std::string& name, const VectorMixture& mixture) {
    tensors.push_back({.name = name, .tensor = mixture.logits(), .saved = !store_mixtures_});
    if (!store_mixtures_) return;
    mixture.store();
    tensors.push_back(
        {.name = name + "_topk_indices", .tensor = mixture.indices(), .trains = false});
    tensors.push_back(
        {.name = name + "_topk_weights", .tensor = mixture.weights(), .trains = false});
  };
  add("vblora_logits_A", mixture_a_);
  add("vblora_logits_B", mixture_b_);
  return tensors;
}

Result<std::unique_ptr<Adapter>> VbloraAdapter::make(const TunerOptions& options,
                                                     const AdapterRequest& request) {
  const auto& own = options.as<VbloraOptions>();
  std::unique_ptr<VbloraAdapter> adapter(new VbloraAdapter(options, request.name));
  const RandomStream stream(request.seed, stream_id("vblora_vector_bank." + request.name));
  adapter->bank_ =
      uniform_values({own.num_vectors, own.vector_length}, own.init_vector_bank_bound, stream)
          .to(largest_target(options, request.base).device)
          .set_requires_grad(true);
  adapter->from_file_ = !request.fresh && own.save_only_topk_weights;
  const auto status = adapter->attach(
      request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        if (auto fits = check_widths(own, site); !fits) return fail(fits.error());
        return std::make_unique<VbloraLinear>(site, request.name, own, adapter->bank_,
                                              request.seed);
      });
  if (!status) return fail(status.error());
  return adapter;
}

std::vector<AdapterTensor> VbloraAdapter::tensors() const {
  auto tensors = LinearAdapter::tensors();
  tensors.push_back({.key = "vblora_vector_bank",
                     .path = "vblora_vector_bank." + name(),
                     .tensor = bank_,
                     .swift_key = "vblora_vector_bank.{}",
                     .peft_prefix = "base_model."});
  return tensors;
}

bool VbloraAdapter::before_step(const StepInfo&) {
  if (!lost_logits_) return false;
  throw std::invalid_argument(
      "vblora cannot be trained on a file of save_only_topk_weights, which has no logits: " +
      name());
}

std::vector<AdapterTensor> VbloraAdapter::state() const {
  std::vector<AdapterTensor> state;
  if (!stores_mixtures()) return state;
  for (auto& each : tensors()) {
    if (each.trains && !each.saved) state.push_back(std::move(each));
  }
  return state;
}

void VbloraAdapter::loaded() {
  lost_logits_ = false;
  for (const auto& layer : layers()) {
    auto* tuner = static_cast<VbloraLinear*>(layer.tuner.get());
    for (VectorMixture* mixture : {&tuner->mixture_a(), &tuner->mixture_b()}) {
      if (from_file_) mixture->restore();
      lost_logits_ = lost_logits_ || at::isinf(mixture->logits()).any().item<bool>();
    }
  }
  from_file_ = false;
}

}  // namespace tunefleet::tuners
