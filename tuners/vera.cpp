#include "tuners/vera.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <utility>

#include "tuners/initial_values.h"
#include "tuners/target_shapes.h"
#include "tuners/torch_draws.h"

namespace tunefleet::tuners {
namespace {

/// PEFT's _kaiming_init: gain sqrt(2).
double kaiming_bound(int64_t fan_in) {
  return std::sqrt(3.0) * (std::sqrt(2.0) / std::sqrt(static_cast<double>(fan_in)));
}

}  // namespace

VeraLinear::VeraLinear(const LinearSite& site, const std::string& adapter_name,
                       const VeraOptions& options, const at::Tensor& a, const at::Tensor& b,
                       uint64_t seed)
    : dropout_(options.vera_dropout),
      stream_(stream_id(site.path + ".vera_dropout." + adapter_name)),
      in_(site.in_features()),
      out_(site.out_features()),
      shared_a_(a),
      shared_b_(b) {
  const at::Device device = site.weight.base.device();
  const RandomStream stream(seed, stream_id(site.path + ".vera_lambda_d." + adapter_name));
  const bool fixed = options.init_weights;
  lambda_d_ = fixed ? at::full({options.r}, options.d_initial, at::kFloat)
                    : normal_values({options.r}, 1.0, stream);
  lambda_b_ = fixed ? at::zeros({site.out_features()}, at::kFloat)
                    : at::ones({site.out_features()}, at::kFloat);
  lambda_d_ = lambda_d_.to(device).set_requires_grad(true);
  lambda_b_ = lambda_b_.to(device).set_requires_grad(true);
}

// Sliced at every use: offloading changes where the shared values lie.
at::Tensor VeraLinear::inner() const { return shared_a_.slice(1, 0, in_); }
at::Tensor VeraLinear::outer() const { return shared_b_.slice(0, 0, out_); }

at::Tensor VeraLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  const at::Tensor input = context.dropout(x, stream_, dropout_).to(at::kFloat);
  const at::Tensor scaled = input.matmul(inner().t()).mul(lambda_d_);
  const at::Tensor update = scaled.matmul(outer().t());
  const at::Tensor y = next(x);
  if (y.scalar_type() == at::kFloat) return at::addcmul(y, update, lambda_b_);
  return y.add(update.mul(lambda_b_).to(y.scalar_type()));
}

at::Tensor VeraLinear::delta_weight() const {
  return lambda_b_.unsqueeze(1).mul(outer()).matmul(lambda_d_.unsqueeze(1).mul(inner()));
}

std::vector<LayerTensor> VeraLinear::tensors() const {
  return {{.name = "vera_lambda_b", .tensor = lambda_b_},
          {.name = "vera_lambda_d", .tensor = lambda_d_}};
}

Result<std::unique_ptr<Adapter>> VeraAdapter::make(const TunerOptions& options,
                                                   const AdapterRequest& request) {
  const auto& own = options.as<VeraOptions>();
  std::unique_ptr<VeraAdapter> adapter(new VeraAdapter(options, request.name));
  const TargetShape shape = largest_target(options, request.base);
  const at::Generator generator = torch_generator(own.projection_prng_key);
  adapter->a_ = torch_uniform({own.r, shape.in}, kaiming_bound(shape.in), generator);
  adapter->b_ = torch_uniform({shape.out, own.r}, kaiming_bound(own.r), generator);
  adapter->a_ = adapter->a_.to(shape.device);
  adapter->b_ = adapter->b_.to(shape.device);
  const auto status = adapter->attach(
      request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        return std::make_unique<VeraLinear>(site, request.name, own, adapter->a_, adapter->b_,
                                            request.seed);
      });
  if (!status) return fail(status.error());
  return adapter;
}

std::vector<AdapterTensor> VeraAdapter::tensors() const {
  auto tensors = LinearAdapter::tensors();
  const bool saved = options().as<VeraOptions>().save_projection;
  for (const auto& [key, tensor] : {std::pair("vera_A", a_), std::pair("vera_B", b_)}) {
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
