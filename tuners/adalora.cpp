#include "tuners/adalora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

/// rank_pattern's list for the layer at `path`; empty: none. PEFT's keys end with ".lora_E", older
/// ones with the adapter's name behind it.
Result<std::vector<bool>> kept_of(const AdaloraOptions& options, const std::string& path) {
  const auto pattern = nlohmann::json::parse(options.rank_pattern.text);
  const std::string wanted = path + ".lora_E";
  for (const auto& [key, list] : pattern.items()) {
    if (key != wanted && !key.starts_with(wanted + ".")) continue;
    auto kept = list.get<std::vector<bool>>();
    if (static_cast<int64_t>(kept.size()) == options.init_r) return kept;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("adalora's rank_pattern does not fit init_r: ", kept.size(), " and ",
                         options.init_r, ", ", key));
  }
  return std::vector<bool>();
}

at::Tensor numbers_of(const std::vector<bool>& kept, at::Device device) {
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i]) numbers.push_back(static_cast<int64_t>(i));
  }
  at::Tensor tensor = at::empty({static_cast<int64_t>(numbers.size())}, at::kLong);
  std::copy(numbers.begin(), numbers.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor.to(device);
}

/// uint8 [masks, r]
at::Tensor bytes_of(const RankAllocator::Masks& masks) {
  const auto rows = static_cast<int64_t>(masks.size());
  at::Tensor bytes = at::empty({rows, static_cast<int64_t>(masks.front().size())}, at::kByte);
  auto* to = bytes.mutable_data_ptr<uint8_t>();
  for (const auto& mask : masks) to = std::copy(mask.begin(), mask.end(), to);
  return bytes;
}

/// ||M M^T - I||, Frobenius.
at::Tensor distance_from_orthogonal(const at::Tensor& rows) {
  const at::Tensor gram = rows.matmul(rows.t());
  return at::linalg_vector_norm(gram.sub(at::eye(gram.size(0), gram.options())));
}

}  // namespace

AdaloraLinear::AdaloraLinear(const LinearSite& site, const std::string& adapter_name,
                             const AdaloraOptions& options, std::vector<bool> kept, uint64_t seed)
    : dropout_(options.lora_dropout),
      stream_(stream_id(site.path + ".lora_dropout." + adapter_name)),
      present_(static_cast<size_t>(options.init_r), true),
      from_file_(!kept.empty()) {
  const auto r = static_cast<double>(options.init_r);
  scaling_ = (options.lora_alpha > 0.0 ? options.lora_alpha : r) / (r + 1e-5);
  const double deviation = options.init_lora_weights ? 0.02 : 1.0;
  const auto drawn = [&](const char* name, at::IntArrayRef shape, bool zero) {
    const RandomStream stream(seed, stream_id(site.path + "." + name + "." + adapter_name));
    const at::Tensor values =
        zero ? at::zeros(shape, at::kFloat) : normal_values(shape, deviation, stream);
    return values.to(site.weight.base.device()).set_requires_grad(true);
  };
  a_ = drawn("lora_A", {options.init_r, site.in_features()}, false);
  e_ = drawn("lora_E", {options.init_r, 1}, options.init_lora_weights);
  b_ = drawn("lora_B", {site.out_features(), options.init_r}, false);
  if (!from_file_) return;
  present_ = kept;
  set_kept(std::move(kept));
}

at::Tensor AdaloraLinear::scaled_a() const {
  return a_.mul(present_mask_.defined() ? e_.mul(present_mask_) : e_);
}

std::optional<LowRankUpdate> AdaloraLinear::low_rank() const {
  return LowRankUpdate{
      .a = scaled_a(), .b = b_, .scaling = scaling_, .dropout = dropout_, .stream = stream_};
}

at::Tensor AdaloraLinear::forward(const at::Tensor& x, const LinearNext& next,
                                  const ForwardContext& context) const {
  const at::Tensor input = context.dropout(x, stream_, dropout_).to(at::kFloat);
  const at::Tensor update = input.matmul(scaled_a().t()).matmul(b_.t()).mul(scaling_);
  const at::Tensor y = next(x);
  return y.add(update.to(y.scalar_type()));
}

at::Tensor AdaloraLinear::delta_weight() const { return b_.matmul(scaled_a()).mul(scaling_); }

std::vector<LayerTensor> AdaloraLinear::tensors() const {
  const bool whole = !kept_.defined();
  std::vector<LayerTensor> tensors{{.name = "lora_A", .tensor = a_, .saved = whole},
                                   {.name = "lora_B", .tensor = b_, .saved = whole},
                                   {.name = "lora_E", .tensor = e_, .saved = whole}};
  if (whole) return tensors;
  const at::NoGradGuard no_grad;
  stored_a_.copy_(a_.index_select(0, kept_));
  stored_b_.copy_(b_.index_select(1, kept_));
  stored_e_.copy_(e_.index_select(0, kept_));
  tensors.push_back({.name = "lora_A", .tensor = stored_a_, .trains = false});
  tensors.push_back({.name = "lora_B", .tensor = stored_b_, .trains = false});
  tensors.push_back({.name = "lora_E", .tensor = stored_e_, .trains = false});
  return tensors;
}

SvdTriplets AdaloraLinear::triplets() const {
  return {.a = a_, .e = e_, .b = b_, .present = present_};
}

at::Tensor AdaloraLinear::orthogonality() const {
  if (!present_mask_.defined())
    return distance_from_orthogonal(a_).add(distance_from_orthogonal(b_.t()));
  const at::Tensor here = numbers_of(present_, a_.device());
  return distance_from_orthogonal(a_.index_select(0, here))
      .add(distance_from_orthogonal(b_.index_select(1, here).t()));
}

void AdaloraLinear::set_kept(std::vector<bool> kept) {
  if (kept.empty()) return;
  const at::NoGradGuard no_grad;
  kept_ = numbers_of(kept, a_.device());
  stored_a_ = a_.index_select(0, kept_);
  stored_e_ = e_.index_select(0, kept_);
  stored_b_ = b_.index_select(1, kept_);
}

void AdaloraLinear::loaded(std::vector<bool> present) {
  const at::NoGradGuard no_grad;
  if (std::exchange(from_file_, false)) {
    a_.index_copy_(0, kept_, stored_a_);
    e_.zero_().index_copy_(0, kept_, stored_e_);
    b_.index_copy_(1, kept_, stored_b_);
  }
  present_ = std::move(present);
  const bool all = std::find(present_.begin(), present_.end(), false) == present_.end();
  present_mask_.reset();
  if (all) return;
  present_mask_ = at::zeros_like(e_);
  present_mask_.index_fill_(0, numbers_of(present_, a_.device()), 1.0);
}

Result<std::unique_ptr<Adapter>> AdaloraAdapter::make(const TunerOptions& options,
                                                      const AdapterRequest& request) {
  AdaloraOptions own = options.as<AdaloraOptions>();
  if (request.fresh) own.rank_pattern = {};
  std::unique_ptr<AdaloraAdapter> adapter(new AdaloraAdapter(own, request.name));
  const auto status = adapter->attach(
      request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        auto kept = kept_of(own, site.path);
        if (!kept) return fail(kept.error());
        adapter->masks_.push_back(
            kept->empty() ? std::vector<bool>(static_cast<size_t>(own.init_r), true) : *kept);
        return std::make_unique<AdaloraLinear>(site, request.name, own, *std::move(kept),
                                               request.seed);
      });
  if (!status) return fail(status.error());
  std::vector<SvdTriplets> triplets;
  for (size_t i = 0; i < adapter->layers().size(); ++i)
    triplets.push_back(adapter->layer(i).triplets());
  adapter->allocator_ =
      std::make_unique<RankAllocator>(RankAllocator::Schedule{.target_r = own.target_r,
                                                              .tinit = own.tinit,
                                                              .tfinal = own.tfinal,
                                                              .delta_t = own.delta_t,
                                                              .beta1 = own.beta1,
                                                              .beta2 = own.beta2},
                                      std::move(triplets));
  adapter->present_ = bytes_of(adapter->masks_);
  return adapter;
}

AdaloraLinear& AdaloraAdapter::layer(size_t i) const {
  return static_cast<AdaloraLinear&>(*layers()[i].tuner);
}

std::vector<std::string> AdaloraAdapter::paths() const {
  std::vector<std::string> paths;
  for (const auto& layer : layers()) paths.push_back(name() + "." + layer.site->path);
  return paths;
}

std::string AdaloraAdapter::config_text(FileLayout layout) const {
  AdaloraOptions written = own();
  if (!written.total_step) written.total_step = written.tinit + written.tfinal + 1;
  return tuners::config_text(written, layout);
}

at::Tensor AdaloraAdapter::regularization() const {
  at::Tensor sum;
  if (own().orth_reg_weight <= 0.0) return sum;
  for (size_t i = 0; i < layers().size(); ++i) {
    const at::Tensor part = layer(i).orthogonality();
    sum = sum.defined() ? sum.add(part) : part;
  }
  return sum.mul(own().orth_reg_weight / static_cast<double>(2 * layers().size()));
}

bool AdaloraAdapter::before_step(const StepInfo& info) {
  if (own().total_step) return false;
  AdaloraOptions options = own();
  options.total_step = info.max_steps;
  if (const auto status = check_schedule(options, info.max_steps); !status)
    throw std::invalid_argument(status.error().message);
  set_options(options);
  return false;
}

bool AdaloraAdapter::after_step(const StepInfo& info) {
  const int64_t total = own().total_step.value_or(info.max_steps);
  if (allocator_->after_step(info.step + 1, total, masks_)) use_masks();
  return false;
}

void AdaloraAdapter::use_masks() {
  auto pattern = nlohmann::json::object();
  for (size_t i = 0; i < layers().size(); ++i) {
    layer(i).set_kept(masks_[i]);
    pattern[layers()[i].site->path + ".lora_E"] = masks_[i];
  }
  AdaloraOptions options = own();
  options.rank_pattern = {pattern.dump()};
  set_options(options);
}

std::vector<AdapterTensor> AdaloraAdapter::state() const {
  auto state = allocator_->state(paths());
  const auto add = [&](std::string path, const at::Tensor& tensor) {
    state.push_back({.key = {}, .path = std::move(path), .tensor = tensor});
  };
  for (size_t i = 0; i < layers().size(); ++i) {
    const SvdTriplets triplets = layer(i).triplets();
    add(paths()[i] + ".lora_A", triplets.a);
    add(paths()[i] + ".lora_E", triplets.e);
    add(paths()[i] + ".lora_B", triplets.b);
  }
  add(name() + ".present", present_);
  return state;
}

void AdaloraAdapter::loaded() {
  RankAllocator::Masks present;
  for (size_t i = 0; i < layers().size(); ++i) {
    const auto* row = present_.const_data_ptr<uint8_t>() + static_cast<int64_t>(i) * own().init_r;
    present.emplace_back(row, row + own().init_r);
    layer(i).loaded(present.back());
  }
  allocator_->set_present(present);
}

}  // namespace tunefleet::tuners
