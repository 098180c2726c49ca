#include "tuners/fourierft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/fft_ifft2.h>
#include <ATen/ops/real.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/autograd/custom_function.h>

#include <map>
#include <tuple>

#include "tuners/config/target_match.h"
#include "tuners/initial_values.h"
#include "tuners/real_spectra.h"

namespace tunefleet::tuners {
namespace {

using Plan = FourierftLinear::Plan;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A frequency of a full spectrum in the half that a real transform has.
struct Folded {
  int64_t at = 0;
  bool mirrored = false;    ///< It is the conjugate of what stands there.
  bool own_mirror = false;  ///< 0, or the middle: real in the spectrum of real numbers.
};

Folded folded(int64_t frequency, int64_t width) {
  const bool mirrored = 2 * frequency > width;
  return {.at = mirrored ? width - frequency : frequency,
          .mirrored = mirrored,
          .own_mirror = frequency == 0 || 2 * frequency == width};
}

}  // namespace

struct FourierftLinear::Plan::Parts {
  std::vector<int64_t> rows, cols, number;
  std::vector<double> sign, row_weight, col_weight;

  Parts(int64_t out, int64_t in, const SpectrumPlaces& places) {
    for (size_t k = 0; k < places.rows.size(); ++k) {
      const Folded row = folded(places.rows[k], out), col = folded(places.cols[k], in);
      add(k, row, col, 0, 1.0);
      // D has e^(+i…), the transform of x has e^(-i…): one conjugate more.
      const bool conjugate = (row.mirrored != col.mirrored) != true;
      if (!row.own_mirror && !col.own_mirror) add(k, row, col, 1, conjugate ? -1.0 : 1.0);
    }
  }

  void add(size_t k, const Folded& row, const Folded& col, int64_t part, double sign_of_part) {
    rows.push_back(row.at * 2 + part);
    cols.push_back(col.at * 2 + part);
    number.push_back(static_cast<int64_t>(k));
    sign.push_back(sign_of_part);
    row_weight.push_back(row.own_mirror ? 1.0 : 0.5);
    col_weight.push_back(col.own_mirror ? 1.0 : 0.5);
  }
};

FourierftLinear::Plan::Plan(int64_t out, int64_t in, const SpectrumPlaces& places,
                            const at::Device& device)
    : Plan(out, in, places, device, Parts(out, in, places)) {}

FourierftLinear::Plan::Plan(int64_t rows, int64_t cols, const SpectrumPlaces& at,
                            const at::Device& device, const Parts& all)
    : out(rows),
      in(cols),
      places(at),
      parts((rows / 2 + 1) * 2, (cols / 2 + 1) * 2, all.rows, all.cols, device),
      number(at::tensor(all.number, at::kLong).to(device)),
      sign(at::tensor(all.sign, at::kFloat).to(device)),
      row_weight(at::tensor(all.row_weight, at::kFloat).to(device)),
      col_weight(at::tensor(all.col_weight, at::kFloat).to(device)) {}

namespace {

struct Call : torch::CustomClassHolder {
  Call(std::shared_ptr<const Plan> shared, double factor)
      : plan(std::move(shared)), scaling(factor) {}
  std::shared_ptr<const Plan> plan;
  double scaling;
};
using CallPointer = c10::intrusive_ptr<Call>;

/// Inputs: x [N, in], c [n]; output [N, out] float32.
class SpectralUpdate : public torch::autograd::Function<SpectralUpdate> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& c,
                            const CallPointer& call) {
    const Plan& plan = *call->plan;
    ctx->save_for_backward({x, c});
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    // irfft adds an entry's mirror image, and divides by out; D is divided by out * in.
    const auto values =
        signed_entries(plan, c, call->scaling / static_cast<double>(plan.in)).mul_(plan.row_weight);
    return from_block_spectra(plan.parts.product(block_spectra(x, plan.in), values), plan.out);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto call = c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
    const Plan& plan = *call->plan;
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& c = saved[1];
    const auto g = block_spectra(grads[0], plan.out);
    at::Tensor dx, dc;
    if (ctx->needs_input_grad(0)) {
      const auto values = signed_entries(plan, c, call->scaling / static_cast<double>(plan.out))
                              .mul_(plan.col_weight);
      dx =
          from_block_spectra(plan.parts.transposed_product(g, values), plan.in).to(x.scalar_type());
    }
    if (ctx->needs_input_grad(1)) {
      const auto sums = plan.parts.sampled_product(g, block_spectra(x, plan.in)).mul_(plan.sign);
      dc = at::zeros_like(c).index_add_(0, plan.number, sums);
      dc.mul_(call->scaling / static_cast<double>(plan.out * plan.in));
    }
    return {dx, dc, {}};
  }

 private:
  static at::Tensor signed_entries(const Plan& plan, const at::Tensor& c, double factor) {
    return c.index_select(0, plan.number).mul_(plan.sign).mul_(factor);
  }
};

}  // namespace

FourierftLinear::FourierftLinear(const LinearSite& site, const std::string& adapter_name,
                                 const FourierftOptions& options, std::shared_ptr<const Plan> plan,
                                 uint64_t seed)
    : scaling_(options.scaling), plan_(std::move(plan)) {
  const at::NoGradGuard no_grad;
  const auto count = static_cast<int64_t>(plan_->places.rows.size());
  const RandomStream stream(seed,
                            stream_id(c10::str(site.path, ".fourierft_spectrum.", adapter_name)));
  spectrum_ =
      (options.init_weights ? at::zeros({count}, at::kFloat) : normal_values({count}, 1.0, stream))
          .to(site.weight.base.device())
          .set_requires_grad(true);
}

at::Tensor FourierftLinear::forward(const at::Tensor& x, const LinearNext& next,
                                    const ForwardContext&) const {
  const at::Tensor y = next(x);
  const auto update =
      SpectralUpdate::apply(x, spectrum_, c10::make_intrusive<Call>(plan_, scaling_));
  return y.add(update.to(y.scalar_type()));
}

at::Tensor FourierftLinear::delta_weight() const {
  const auto options = at::TensorOptions(at::kLong).device(spectrum_.device());
  const auto flat = at::tensor(plan_->places.rows, options)
                        .mul_(plan_->in)
                        .add_(at::tensor(plan_->places.cols, options));
  const auto dense = at::zeros({plan_->out * plan_->in}, spectrum_.options())
                         .index_copy_(0, flat, spectrum_.detach())
                         .view({plan_->out, plan_->in});
  return at::real(at::fft_ifft2(dense)).mul(scaling_);
}

std::vector<LayerTensor> FourierftLinear::tensors() const {
  return {{.name = "fourierft_spectrum", .tensor = spectrum_}};
}

namespace {

/// Makes the layers of one adapter.
class LayerMaker {
 public:
  LayerMaker(const FourierftOptions& options, const AdapterRequest& request)
      : options_(options), name_(request.name), seed_(request.seed) {}

  Result<std::unique_ptr<LinearLayerTuner>> operator()(const LinearSite& site) {
    const auto* own = find_pattern(options_.n_frequency_pattern, site.path);
    const int64_t count = own == nullptr ? options_.n_frequency : *own;
    const int64_t out = site.out_features(), in = site.in_features();
    if (count > out * in) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("fourierft option n_frequency is above the size of the layer: ", count,
                           ", ", site.path, " is [", out, ", ", in, "]"));
    }
    auto& plan = plans_[{out, in, count}];
    if (!plan) {
      plan = std::make_shared<const Plan>(out, in,
                                          spectrum_places(out, in, count, options_.random_loc_seed),
                                          site.weight.base.device());
    }
    return std::make_unique<FourierftLinear>(site, name_, options_, plan, seed_);
  }

 private:
  FourierftOptions options_;
  std::string name_;
  uint64_t seed_;
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const Plan>> plans_;
};

}  // namespace

Result<std::unique_ptr<Adapter>> make_fourierft(const TunerOptions& options,
                                                const AdapterRequest& request) {
  return LinearAdapter::make(options, request, LayerMaker(options.as<FourierftOptions>(), request));
}

}  // namespace tunefleet::tuners
