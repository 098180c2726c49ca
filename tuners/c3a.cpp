#include "tuners/c3a.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/fft_irfft.h>
#include <ATen/ops/fft_rfft.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <tuple>

#include "tuners/config/target_match.h"
#include "tuners/initial_values.h"
#include "tuners/real_spectra.h"

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Convolution turned round is a product with the conjugate: (re + i im) conj(w).
at::Tensor frequency_values(const at::Tensor& kernel, double scale) {
  const auto spectrum = at::view_as_real(at::fft_rfft(kernel)).mul_(scale);
  const auto re = spectrum.select(-1, 0), im = spectrum.select(-1, 1);
  return at::stack({re, im, im.neg(), re}, -1).flatten();
}

struct Frequencies : torch::CustomClassHolder {
  explicit Frequencies(std::shared_ptr<const SparsePattern> p) : pattern(std::move(p)) {}
  std::shared_ptr<const SparsePattern> pattern;
};
using FrequenciesPointer = c10::intrusive_ptr<Frequencies>;

/// Inputs: x [N, in], kernel [out / b, in / b, b]; output [N, out] float32.
class BlockCirculant : public torch::autograd::Function<BlockCirculant> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& kernel,
                            const FrequenciesPointer& frequencies) {
    const int64_t b = kernel.size(2);
    ctx->save_for_backward({x, kernel});
    ctx->saved_data["frequencies"] = c10::IValue::make_capsule(frequencies);
    const auto values = frequency_values(kernel, 1.0 / static_cast<double>(x.size(1)));
    return from_block_spectra(frequencies->pattern->product(block_spectra(x, b), values), b);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& kernel = saved[1];
    const auto frequencies =
        c10::static_intrusive_pointer_cast<Frequencies>(ctx->saved_data["frequencies"].toCapsule());
    const int64_t b = kernel.size(2);
    const double scale = 1.0 / static_cast<double>(x.size(1));
    const auto g = block_spectra(grads[0], b);
    at::Tensor dx, dkernel;
    if (ctx->needs_input_grad(0)) {
      const auto values = frequency_values(kernel, scale);
      dx = from_block_spectra(frequencies->pattern->transposed_product(g, values), b)
               .to(x.scalar_type());
    }
    if (ctx->needs_input_grad(1)) {
      // Correlation of x with dy: X conj(G).
      const auto sums = frequencies->pattern->sampled_product(g, block_spectra(x, b))
                            .mul_(scale)
                            .view({kernel.size(0), kernel.size(1), b / 2 + 1, 4});
      const auto re = sums.select(-1, 0).add(sums.select(-1, 3));
      const auto im = sums.select(-1, 1).sub(sums.select(-1, 2));
      dkernel = at::fft_irfft(at::complex(re, im), b);
    }
    return {dx, dkernel, {}};
  }
};

at::Tensor initial_kernel(at::IntArrayRef shape, const std::string& init, int64_t out, int64_t in,
                          RandomStream stream) {
  if (init == "true") return at::zeros(shape, at::kFloat);
  if (init == "gaussian") return normal_values(shape, 1.0, stream);
  if (init == "kaiming_uniform") return kaiming_values(shape, in, stream);
  return uniform_values(shape, std::sqrt(6.0 / static_cast<double>(in + out)), stream);
}

}  // namespace

C3aLinear::C3aLinear(const LinearSite& site, const std::string& adapter_name,
                     const Settings& settings, std::shared_ptr<const SparsePattern> frequencies,
                     uint64_t seed)
    : frequencies_(std::move(frequencies)) {
  const at::NoGradGuard no_grad;
  const int64_t out = site.out_features(), in = site.in_features(), b = settings.block_size;
  const RandomStream stream(seed, stream_id(c10::str(site.path, ".c3a_kernel.", adapter_name)));
  kernel_ = initial_kernel({out / b, in / b, b}, settings.init, out, in, stream)
                .to(site.weight.base.device())
                .set_requires_grad(true);
}

std::shared_ptr<const SparsePattern> C3aLinear::frequency_pattern(int64_t out, int64_t in,
                                                                  int64_t b,
                                                                  const at::Device& device) {
  const int64_t width = b / 2 + 1;
  std::vector<int64_t> rows, cols;
  for (int64_t m = 0; m < out / b; ++m) {
    for (int64_t n = 0; n < in / b; ++n) {
      for (int64_t f = 0; f < width; ++f) {
        for (int64_t part = 0; part < 4; ++part) {
          rows.push_back((m * width + f) * 2 + part / 2);
          cols.push_back((n * width + f) * 2 + part % 2);
        }
      }
    }
  }
  return std::make_shared<SparsePattern>(out / b * width * 2, in / b * width * 2, rows, cols,
                                         device);
}

at::Tensor C3aLinear::forward(const at::Tensor& x, const LinearNext& next,
                              const ForwardContext&) const {
  const at::Tensor y = next(x);
  const auto update =
      BlockCirculant::apply(x, kernel_, c10::make_intrusive<Frequencies>(frequencies_));
  return y.add(update.to(y.scalar_type()));
}

at::Tensor C3aLinear::delta_weight() const {
  const int64_t rows = kernel_.size(0), cols = kernel_.size(1), b = kernel_.size(2);
  const auto place = at::arange(b, kernel_.options().dtype(at::kLong));
  const auto shift = place.unsqueeze(0).sub(place.unsqueeze(1)).remainder(b);  // (j - i) mod b
  const auto blocks = kernel_.detach().index_select(2, shift.flatten()).view({rows, cols, b, b});
  return blocks.transpose(1, 2).reshape({rows * b, cols * b}).div(static_cast<double>(cols * b));
}

std::vector<LayerTensor> C3aLinear::tensors() const {
  return {{.name = "c3a_kernel", .tensor = kernel_}};
}

namespace {

/// Makes the layers of one adapter.
class LayerMaker {
 public:
  LayerMaker(const C3aOptions& options, const AdapterRequest& request)
      : options_(options), name_(request.name), seed_(request.seed) {}

  Result<std::unique_ptr<LinearLayerTuner>> operator()(const LinearSite& site) {
    const auto* own = find_pattern(options_.block_size_pattern, site.path);
    const int64_t b = own == nullptr ? options_.block_size : *own;
    const int64_t out = site.out_features(), in = site.in_features();
    if (out % b != 0 || in % b != 0) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("c3a option block_size divides inputs and outputs of every target "
                           "(block_size_pattern sets it for single modules): ",
                           b, ", ", site.path, " is [", out, ", ", in, "]"));
    }
    auto& pattern = patterns_[{out, in, b}];
    if (!pattern) pattern = C3aLinear::frequency_pattern(out, in, b, site.weight.base.device());
    return std::make_unique<C3aLinear>(
        site, name_, C3aLinear::Settings{.block_size = b, .init = options_.init_weights}, pattern,
        seed_);
  }

 private:
  C3aOptions options_;
  std::string name_;
  uint64_t seed_;
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const SparsePattern>> patterns_;
};

}  // namespace

Result<std::unique_ptr<Adapter>> make_c3a(const TunerOptions& options,
                                          const AdapterRequest& request) {
  return LinearAdapter::make(options, request, LayerMaker(options.as<C3aOptions>(), request));
}

}  // namespace tunefleet::tuners
