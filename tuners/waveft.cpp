#include "tuners/waveft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <unordered_set>

#include "tuners/config/resolve.h"
#include "tuners/config/target_match.h"
#include "tuners/config/wavelet_filters.h"
#include "tuners/initial_values.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {
namespace {

using Plan = WaveftLinear::Plan;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

}  // namespace

/// Coefficient i of a band reaches the places 2 i + l - start of the vector, l over its filter.
/// PEFT pads a spectrum by the filter's length less two (and to an even number), and cuts what the
/// filters add on both sides.
WaveletTransform::WaveletTransform(const std::string& name, int64_t width,
                                   const at::Device& device) {
  padded = width;
  if (name.empty()) return;
  const auto filters = wavelet_filters(name);
  const auto length = static_cast<int64_t>(filters.low.size());
  padded = (width + length - 2 + 1) / 2 * 2;
  const int64_t half = padded / 2;
  const int64_t cut = (2 * length - 3) / 2;
  const int64_t made = 2 * (half - 1) + length - 2 * cut;
  const int64_t start = cut + (made - width) / 2;
  std::vector<int64_t> entry_rows, entry_cols;
  std::vector<double> entries;
  for (int64_t band = 0; band < 2; ++band) {
    const auto& filter = band == 0 ? filters.low : filters.high;
    for (int64_t i = 0; i < half; ++i) {
      for (int64_t l = 0; l < length; ++l) {
        const int64_t place = 2 * i + l - start;
        if (place < 0 || place >= width) continue;
        entry_rows.push_back(band * half + i);
        entry_cols.push_back(place);
        entries.push_back(filter[static_cast<size_t>(l)]);
      }
    }
  }
  matrix = std::make_unique<SparsePattern>(padded, width, entry_rows, entry_cols, device);
  values = at::tensor(entries, at::kFloat).to(device);
}

at::Tensor WaveletTransform::bands(const at::Tensor& x) const {
  return matrix ? matrix->product(x, values) : x;
}

at::Tensor WaveletTransform::from_bands(const at::Tensor& bands) const {
  return matrix ? matrix->transposed_product(bands, values) : bands;
}

namespace {

/// S between the bands of outputs and inputs. PEFT takes the upper right quarter of its spectrum as
/// high for the rows and low for the columns, and the lower left one the other way.
SparsePattern spectrum_pattern(int64_t out, int64_t in, const SpectrumPlaces& places,
                               const WaveletTransform& rows, const WaveletTransform& cols,
                               const at::Device& device) {
  const int64_t height = rows.padded, width = cols.padded;
  if (!rows.matrix) return {height, width, places.rows, places.cols, device};
  std::vector<int64_t> entry_rows, entry_cols;
  for (size_t k = 0; k < places.rows.size(); ++k) {
    const int64_t u = places.rows[k] + (height - out) / 2, v = places.cols[k] + (width - in) / 2;
    const bool lower = u >= height / 2, right = v >= width / 2;
    entry_rows.push_back(u % (height / 2) + (right ? height / 2 : 0));
    entry_cols.push_back(v % (width / 2) + (lower ? width / 2 : 0));
  }
  return {height, width, entry_rows, entry_cols, device};
}

}  // namespace

WaveftLinear::Plan::Plan(int64_t out, int64_t in, const SpectrumPlaces& places,
                         const std::string& wavelet, const at::Device& device)
    : rows(wavelet, out, device),
      cols(wavelet, in, device),
      spectrum(spectrum_pattern(out, in, places, rows, cols, device)) {}

namespace {

struct Call : torch::CustomClassHolder {
  Call(std::shared_ptr<const Plan> shared, double factor)
      : plan(std::move(shared)), scaling(factor) {}
  std::shared_ptr<const Plan> plan;
  double scaling;
};
using CallPointer = c10::intrusive_ptr<Call>;

/// Inputs: x [N, in], c [n]; output [N, out] float32.
class WaveletUpdate : public torch::autograd::Function<WaveletUpdate> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& c,
                            const CallPointer& call) {
    const Plan& plan = *call->plan;
    ctx->save_for_backward({x, c});
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    const auto values = c.mul(call->scaling);
    return plan.rows.from_bands(plan.spectrum.product(plan.cols.bands(x), values));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto call = c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
    const Plan& plan = *call->plan;
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& c = saved[1];
    const auto g = plan.rows.bands(grads[0]);
    at::Tensor dx, dc;
    if (ctx->needs_input_grad(0)) {
      const auto values = c.mul(call->scaling);
      dx = plan.cols.from_bands(plan.spectrum.transposed_product(g, values)).to(x.scalar_type());
    }
    if (ctx->needs_input_grad(1))
      dc = plan.spectrum.sampled_product(g, plan.cols.bands(x)).mul_(call->scaling);
    return {dx, dc, {}};
  }
};

}  // namespace

WaveftLinear::WaveftLinear(const LinearSite& site, const std::string& adapter_name,
                           const WaveftOptions& options, std::shared_ptr<const Plan> plan,
                           uint64_t seed)
    : scaling_(options.scaling), plan_(std::move(plan)) {
  const at::NoGradGuard no_grad;
  const int64_t count = plan_->spectrum.entries();
  const RandomStream stream(seed,
                            stream_id(c10::str(site.path, ".waveft_spectrum.", adapter_name)));
  spectrum_ =
      (options.init_weights ? at::zeros({count}, at::kFloat) : normal_values({count}, 0.01, stream))
          .to(site.weight.base.device())
          .set_requires_grad(true);
}

at::Tensor WaveftLinear::forward(const at::Tensor& x, const LinearNext& next,
                                 const ForwardContext&) const {
  const at::Tensor y = next(x);
  const auto update =
      WaveletUpdate::apply(x, spectrum_, c10::make_intrusive<Call>(plan_, scaling_));
  return y.add(update.to(y.scalar_type()));
}

at::Tensor WaveftLinear::delta_weight() const {
  const auto spectrum = plan_->spectrum.dense(spectrum_.detach().mul(scaling_));
  const auto columns = plan_->cols.from_bands(spectrum);
  return plan_->rows.from_bands(columns.t()).t().contiguous();
}

std::vector<LayerTensor> WaveftLinear::tensors() const {
  return {{.name = "waveft_spectrum", .tensor = spectrum_}};
}

namespace {

/// Makes the layers of one adapter.
class LayerMaker {
 public:
  LayerMaker(const WaveftOptions& options, const AdapterRequest& request)
      : options_(options), name_(request.name), seed_(request.seed) {}

  /// Shares the coefficients of all targets out by their sizes, at least one each.
  Status share_out(BaseModel& base) {
    const auto targets = match_targets(selection_of(options_), model_modules(base));
    if (!targets) return fail(targets.error());
    const std::unordered_set<std::string> chosen(targets->begin(), targets->end());
    double total = 0.0;
    for (const LinearSite* site : base.linear_sites()) {
      if (chosen.contains(site->path)) total += size_of(*site);
    }
    const double budget =
        static_cast<double>(options_.n_frequency) * static_cast<double>(targets->size());
    for (const LinearSite* site : base.linear_sites()) {
      if (!chosen.contains(site->path)) continue;
      const double share = std::nearbyint(size_of(*site) / total * budget);
      shares_[site->path] = std::max<int64_t>(1, static_cast<int64_t>(share));
    }
    return {};
  }

  Result<std::unique_ptr<LinearLayerTuner>> operator()(const LinearSite& site) {
    const int64_t count = count_of(site.path);
    const int64_t out = site.out_features(), in = site.in_features();
    if (count > out * in) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("waveft option n_frequency is above the size of the layer: ", count,
                           ", ", site.path, " is [", out, ", ", in, "]"));
    }
    auto& plan = plans_[{out, in, count}];
    if (!plan) {
      plan = std::make_shared<const Plan>(
          out, in, spectrum_places(out, in, count, options_.random_loc_seed),
          options_.use_idwt ? options_.wavelet_family : "", site.weight.base.device());
    }
    return std::make_unique<WaveftLinear>(site, name_, options_, plan, seed_);
  }

 private:
  static double size_of(const LinearSite& site) {
    return static_cast<double>(site.in_features() * site.out_features());
  }
  int64_t count_of(const std::string& path) const {
    if (const auto share = shares_.find(path); share != shares_.end()) return share->second;
    const auto* own = find_pattern(options_.n_frequency_pattern, path);
    return own == nullptr ? options_.n_frequency : *own;
  }

  WaveftOptions options_;
  std::string name_;
  uint64_t seed_;
  std::map<std::string, int64_t> shares_;  ///< By path, with proportional_parameters.
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const Plan>> plans_;
};

}  // namespace

Result<std::unique_ptr<Adapter>> make_waveft(const TunerOptions& options,
                                             const AdapterRequest& request) {
  const auto& own = options.as<WaveftOptions>();
  LayerMaker make_layer(own, request);
  if (own.proportional_parameters) {
    if (auto status = make_layer.share_out(request.base); !status) return fail(status.error());
  }
  return LinearAdapter::make(options, request, std::move(make_layer));
}

}  // namespace tunefleet::tuners
