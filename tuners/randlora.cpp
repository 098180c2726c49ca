#include "tuners/randlora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "tuners/initial_values.h"
#include "tuners/target_shapes.h"
#include "tuners/torch_draws.h"

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

int64_t bases_of(int64_t narrow, int64_t r) { return (narrow + r - 1) / r; }

/// -1, 0 or 1, 1 / (2 sparsity) of each sign.
at::Tensor ternary(at::IntArrayRef shape, double sparsity, const at::Generator& generator) {
  const at::Tensor drawn = at::rand(shape, generator, at::kFloat);
  const double share = 1.0 / (2.0 * sparsity);
  return drawn.gt(1.0 - share).to(at::kFloat).sub(drawn.lt(share).to(at::kFloat));
}

/// PEFT draws, and divides, in bfloat16.
at::Tensor kaiming(at::IntArrayRef shape, const at::Generator& generator) {
  const int64_t fan_in = shape[1] * shape[2];
  const double gain = std::sqrt(2.0 / 6.0);
  const double bound = std::sqrt(3.0) * (gain / std::sqrt(static_cast<double>(fan_in)));
  return torch_uniform(shape, bound, generator, at::kBFloat16);
}

at::Tensor normalised(const at::Tensor& values) { return values.div(values.std()).to(at::kFloat); }

struct Scales {
  const at::Tensor &lambda, &gamma;  ///< [r, n], [n, narrow]
  double scaling;
};

/// scaling * (lambda o A gamma), [r n, narrow]; a [r, 1, narrow].
at::Tensor scaled(const at::Tensor& a, const Scales& by) {
  const at::Tensor lambda = by.lambda.mul(by.scaling).unsqueeze(2);
  return lambda.mul(a).mul_(by.gamma.unsqueeze(0)).flatten(0, 1);
}

/// The gradients of lambda and gamma from that of the scaled A, which it overwrites.
std::pair<at::Tensor, at::Tensor> scale_gradients(at::Tensor grad, const at::Tensor& a,
                                                  const Scales& by) {
  const auto& [lambda, gamma, scaling] = by;
  const at::Tensor with_a =
      grad.mul_(scaling).view({lambda.size(0), lambda.size(1), gamma.size(1)}).mul_(a);
  const at::Tensor dlambda = with_a.mul(gamma.unsqueeze(0)).sum(2);
  return {dlambda, with_a.mul_(lambda.unsqueeze(2)).sum(0)};
}

/// The scaled A as a node of its own: of the size of a weight, it is made again rather than kept.
class ScaledA : public torch::autograd::Function<ScaledA> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& lambda, const at::Tensor& gamma,
                            const at::Tensor& a, double scaling) {
    ctx->save_for_backward({lambda, gamma, a});
    ctx->saved_data["scaling"] = scaling;
    return scaled(a, {lambda, gamma, scaling});
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Scales by{saved[0], saved[1], ctx->saved_data["scaling"].toDouble()};
    auto [dlambda, dgamma] = scale_gradients(grads[0].clone(), saved[2], by);
    return {dlambda, dgamma, at::Tensor(), at::Tensor()};
  }
};

/// B (scaled A), [wide, narrow], or that turned round, for values lambda and gamma. To form it
/// takes more products than the layer itself.
class BasesMap : public WeightMap {
 public:
  BasesMap(at::Tensor a, at::Tensor b, double scaling, bool turned)
      : a_(std::move(a)), b_(std::move(b)), scaling_(scaling), turned_(turned) {}

  at::Tensor added_to(const at::Tensor& weight, const Tensors& values) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor inner = scaled(a_, {values[0], values[1], scaling_});
    return turned_ ? at::addmm(weight, inner.t(), b_.t()) : at::addmm(weight, b_, inner);
  }

  Tensors gradients(const at::Tensor& grad, const Tensors& values) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor of_inner = b_.t().matmul(turned_ ? grad.t() : grad);
    auto [dlambda, dgamma] = scale_gradients(of_inner, a_, {values[0], values[1], scaling_});
    return {dlambda, dgamma};
  }
  bool is_kept() const override { return true; }

 private:
  at::Tensor a_, b_;
  double scaling_;
  bool turned_;
};

}  // namespace

RandomBases random_bases(const RandloraOptions& options, int64_t narrow, int64_t wide) {
  const at::Generator generator = torch_generator(options.projection_prng_key);
  const int64_t r = options.r, n = bases_of(narrow, r);
  if (options.sparse || options.very_sparse) {
    const double sparsity = options.very_sparse ? std::sqrt(static_cast<double>(narrow)) : 3.0;
    const at::Tensor a = ternary({r, 1, narrow}, sparsity, generator);
    return {normalised(a), normalised(ternary({wide, n, r}, sparsity, generator))};
  }
  const at::Tensor a = kaiming({r, 1, narrow}, generator);
  std::vector<at::Tensor> b;
  for (int64_t j = 0; j < n; ++j) b.push_back(kaiming({wide, 1, r}, generator));
  return {normalised(a), normalised(at::cat(b, 1))};
}

RandloraLinear::RandloraLinear(const LinearSite& site, const std::string& adapter_name,
                               const RandloraOptions& options, const RandomBases& bases,
                               uint64_t seed)
    : in_(site.in_features()),
      out_(site.out_features()),
      scaling_(options.randlora_alpha / static_cast<double>(options.r)),
      dropout_(options.randlora_dropout),
      save_bases_(options.save_projection),
      float_base_(site.weight.base.scalar_type() == at::kFloat),
      stream_(stream_id(site.path + ".randlora_dropout." + adapter_name)),
      bases_(bases) {
  const auto [narrow, wide] = std::minmax(in_, out_);
  const int64_t r = options.r, n = bases_of(narrow, r);
  const RandomStream stream(seed, stream_id(site.path + ".randlora_lambda." + adapter_name));
  const bool fixed = options.init_weights;
  lambda_ = fixed ? at::zeros({r, n}, at::kFloat) : normal_values({r, n}, 1.0, stream);
  gamma_ = at::full({n, narrow}, 1.0 / static_cast<double>(fixed ? std::max(n, narrow) : wide),
                    at::kFloat);
  const at::Device device = site.weight.base.device();
  lambda_ = lambda_.to(device).set_requires_grad(true);
  gamma_ = gamma_.to(device).set_requires_grad(true);
}

// Sliced at every use: offloading changes where the shared values lie.
at::Tensor RandloraLinear::inner() const { return bases_.a.slice(2, 0, std::min(in_, out_)); }

at::Tensor RandloraLinear::outer() const {
  return bases_.b.slice(0, 0, std::max(in_, out_)).slice(1, 0, gamma_.size(0)).flatten(1, 2);
}

at::Tensor RandloraLinear::delta_weight() const {
  const at::Tensor update = outer().matmul(ScaledA::apply(lambda_, gamma_, inner(), scaling_));
  return in_ <= out_ ? update : update.t();
}

bool RandloraLinear::whole_is_cheaper(int64_t tokens) const {
  const auto [narrow, wide] = std::minmax(in_, out_);
  const int64_t rank = lambda_.numel();
  const int64_t in_factors = rank * (2 * wide + 3 * narrow);  // of a token, forward and backward
  return tokens * (in_factors - wide * narrow) > 2 * rank * wide * narrow;
}

std::optional<WeightUpdate> RandloraLinear::weight_update(const ForwardContext& context) const {
  // In half precision small updates would vanish in the sum with the weight.
  if ((context.training && dropout_ > 0.0) || !float_base_) return std::nullopt;
  if (context.boundaries && !whole_is_cheaper(context.boundaries->back())) return std::nullopt;
  return WeightUpdate{std::make_shared<BasesMap>(inner(), outer(), scaling_, in_ > out_),
                      {lambda_, gamma_}};
}

std::optional<LowRankUpdate> RandloraLinear::low_rank() const {
  const at::Tensor a = ScaledA::apply(lambda_, gamma_, inner(), scaling_), b = outer();
  return LowRankUpdate{.a = in_ <= out_ ? a : b.t(),
                       .b = in_ <= out_ ? b : a.t(),
                       .scaling = 1.0,
                       .dropout = dropout_,
                       .stream = stream_};
}

at::Tensor RandloraLinear::forward(const at::Tensor& x, const LinearNext& next,
                                   const ForwardContext& context) const {
  const at::Tensor input = context.dropout(x, stream_, dropout_);
  const at::Tensor update = input.matmul(delta_weight().to(input.scalar_type()).t());
  const at::Tensor y = next(x);
  return y.add(update.to(y.scalar_type()));
}

std::vector<LayerTensor> RandloraLinear::tensors() const {
  std::vector<LayerTensor> tensors{{.name = "randlora_lambda", .tensor = lambda_},
                                   {.name = "randlora_gamma", .tensor = gamma_}};
  if (!save_bases_) return tensors;
  tensors.push_back({.name = "randlora_A", .tensor = bases_.a, .trains = false, .optional = true});
  tensors.push_back({.name = "randlora_B", .tensor = bases_.b, .trains = false, .optional = true});
  return tensors;
}

Result<std::unique_ptr<Adapter>> RandloraAdapter::make(const TunerOptions& options,
                                                       const AdapterRequest& request) {
  const auto& own = options.as<RandloraOptions>();
  std::unique_ptr<RandloraAdapter> adapter(new RandloraAdapter(options, request.name));
  const TargetShape shape = largest_target(options, request.base);
  adapter->bases_ = random_bases(own, std::min(shape.in, shape.out), std::max(shape.in, shape.out));
  adapter->bases_.a = adapter->bases_.a.to(shape.device);
  adapter->bases_.b = adapter->bases_.b.to(shape.device);
  const auto status = adapter->attach(
      request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        return std::make_unique<RandloraLinear>(site, request.name, own, adapter->bases_,
                                                request.seed);
      });
  if (!status) return fail(status.error());
  return adapter;
}

std::vector<AdapterTensor> RandloraAdapter::tensors() const {
  auto tensors = LinearAdapter::tensors();
  const bool saved = options().as<RandloraOptions>().save_projection;
  for (const auto& [key, tensor] :
       {std::pair("randlora_A", bases_.a), std::pair("randlora_B", bases_.b)}) {
    tensors.push_back({.key = key,
                       .path = std::string(key) + "." + name(),
                       .tensor = tensor,
                       .swift_key = std::string(key) + ".{}",
                       .peft_prefix = "base_model.",
                       .trains = false,
                       .saved = saved});
  }
  return tensors;
}

}  // namespace tunefleet::tuners
