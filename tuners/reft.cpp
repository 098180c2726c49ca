#include "tuners/reft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_qr.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <set>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

/// The orthonormal factor of x [C, r], r <= C, whose triangular one has a positive diagonal: then
/// it is unique, and near x it follows x smoothly.
at::Tensor orthonormal(const at::Tensor& x) {
  const auto [q, triangle] = at::linalg_qr(x);
  // Rows side by side, as the stored matrix: products of both then round alike.
  return q.mul(triangle.detach().diagonal().sign()).contiguous();
}

bool is_orthonormal(const at::Tensor& x) {
  const auto product = x.t().matmul(x);
  return product.sub(at::eye(x.size(1), x.options())).abs().max().item<double>() < 1e-5;
}

/// The model's sites of these layers. kInvalidArgument for one that is not there.
Result<std::vector<ModuleSite*>> layer_sites(const ReftOptions& options, BaseModel& base) {
  LayerList* list = base.layer_list();
  if (list == nullptr) {
    return fail(
        ErrorCode::kInvalidArgument,
        "reft needs a model with a list of layers, this one has none: " + base.name_or_path());
  }
  if (options.layer_key.value_or(list->path()) != list->path()) {
    return fail(ErrorCode::kInvalidArgument,
                c10::str("reft option layer_key is not the model's list of layers, which is ",
                         list->path(), ": ", *options.layer_key));
  }
  const auto count = static_cast<int64_t>(list->origins().size());
  std::set<std::string> wanted;
  for (const int64_t layer : options.layers) {
    if (layer >= count) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("reft option layers names a layer that the model has not: ", layer,
                           ", it has ", count));
    }
    wanted.insert(c10::str(list->path(), ".", layer));
  }
  for (int64_t i = 0; i < count && options.layers.empty(); ++i)
    wanted.insert(c10::str(list->path(), ".", i));
  std::vector<ModuleSite*> sites;
  for (ModuleSite* site : base.module_sites()) {
    if (wanted.contains(site->path)) sites.push_back(site);
  }
  return sites;
}

}  // namespace

OrthonormalColumns::OrthonormalColumns(int64_t rows, int64_t columns, const TunerPlace& place) {
  const at::NoGradGuard no_grad;
  const RandomStream stream(place.seed, stream_id(place.inside("weight").path));
  matrix_ = trained(orthonormal(normal_values({rows, columns}, 1.0, stream)).contiguous(), place);
}

at::Tensor OrthonormalColumns::columns() const {
  if (!at::GradMode::is_enabled() && is_orthonormal(matrix_)) return matrix_;
  return orthonormal(matrix_);
}

void OrthonormalColumns::straighten() const {
  const at::NoGradGuard no_grad;
  at::Tensor matrix = matrix_;
  if (!is_orthonormal(matrix)) matrix.copy_(orthonormal(matrix));
}

ReftIntervention::ReftIntervention(int64_t width, const ReftOptions& options,
                                   const ReftArguments& arguments, const TunerPlace& place)
    : linear_(arguments.act_fn == "linear"),
      activation_(activation(arguments.act_fn)),
      dropout_(arguments.dropout),
      stream_(stream_id(place.inside("dropout").path)) {
  const std::string& type = options.intervention_type;
  const bool constant = type == "ConsreftIntervention" || type == "LobireftIntervention";
  const bool free = type == "NoreftIntervention" || type == "NodireftIntervention";
  subtracts_ = type == "LoreftIntervention" || type == "ConsreftIntervention" ||
               type == "NoreftIntervention";
  const TunerPlace source = place.inside("learned_source");
  if (constant) {
    const RandomStream stream(place.seed, stream_id(source.path));
    constant_ = trained(uniform_values({options.r}, 0.5, stream).add(0.5), place);
  } else {
    learned_source_ = TrainedLinear::make(width, options.r, LayerStart::kKaiming, source);
  }
  if (free) {
    // Without the subtraction its bias would have no effect.
    projection_ = TrainedLinear::make(width, options.r, LayerStart::kKaiming,
                                      place.inside("proj_layer"), arguments.add_bias && subtracts_);
  } else {
    rotation_ = OrthonormalColumns(width, options.r, place.inside("rotate_layer"));
  }
}

at::Tensor ReftIntervention::source(const at::Tensor& h) const {
  return constant_.defined() ? constant_ : activation_(learned_source_(h));
}

at::Tensor ReftIntervention::change(const at::Tensor& h) const {
  const at::Tensor down = rotation_.defined() ? rotation_.columns() : projection_.weight.t();
  const at::Tensor up = down.t();
  if (!subtracts_) return source(h).matmul(up);
  if (!constant_.defined() && linear_ && !projection_.bias.defined()) {
    const at::Tensor difference = learned_source_.weight.t().sub(down);
    return at::addmm(learned_source_.bias, h, difference).matmul(up);
  }
  const at::Tensor present = h.matmul(down);
  const at::Tensor wanted = source(h);
  const at::Tensor rest =
      projection_.bias.defined() ? wanted.sub(present).sub(projection_.bias) : wanted.sub(present);
  return rest.matmul(up);
}

at::Tensor ReftIntervention::forward(const at::Tensor& x, const TensorNext& next,
                                     const ForwardContext& context) const {
  const at::Tensor h = next(x);
  const at::Tensor wide = h.to(at::kFloat);
  return context.dropout(wide.add(change(wide)).to(h.scalar_type()), stream_, dropout_);
}

std::vector<LayerTensor> ReftIntervention::tensors() const {
  std::vector<LayerTensor> tensors;
  if (constant_.defined()) {
    tensors.push_back({.name = "learned_source", .tensor = constant_, .decay = false});
  } else {
    learned_source_.append("learned_source", tensors);
  }
  if (rotation_.defined()) {
    rotation_.straighten();
    tensors.push_back(
        {.name = "rotate_layer.weight", .tensor = rotation_.matrix(), .decay = false});
  } else {
    projection_.append("proj_layer", tensors);
  }
  return tensors;
}

Result<std::unique_ptr<Adapter>> ReftAdapter::make(const TunerOptions& options,
                                                   const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  auto resolved = options.as<ReftOptions>();
  const auto arguments = reft_arguments(resolved);
  if (!arguments) return fail(arguments.error());
  const auto sites = layer_sites(resolved, request.base);
  if (!sites) return fail(sites.error());
  const int64_t width = request.base.sequence_site()->hidden_size;
  if (resolved.r > width) {
    return fail(
        ErrorCode::kInvalidArgument,
        c10::str("ReFT rank is larger than the layers' width: r ", resolved.r, ", width ", width));
  }
  if (!resolved.model_type) resolved.model_type = "llama";
  std::unique_ptr<ReftAdapter> adapter(new ReftAdapter(resolved, request.name));
  const at::Device device = request.base.parameters().front()->base.device();
  for (ModuleSite* site : *sites) {
    const TunerPlace place{c10::str(site->path, ".reft_", request.name), request.seed, device};
    adapter->places_.push_back(
        {.site = site,
         .intervention = std::make_unique<ReftIntervention>(width, resolved, *arguments, place)});
  }
  return adapter;
}

std::vector<AdapterTensor> ReftAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& [site, intervention] : places_) {
    for (const auto& tensor : intervention->tensors()) {
      const std::string key = c10::str(site->path, ".reft_", name_, ".", tensor.name);
      tensors.push_back({.key = key,
                         .path = key,
                         .tensor = tensor.tensor,
                         .decay = tensor.decay,
                         .swift_key = c10::str(site->path, ".reft_{}.", tensor.name)});
    }
  }
  return tensors;
}

std::vector<ModulePart> ReftAdapter::module_tuners() const {
  std::vector<ModulePart> parts;
  for (const auto& place : places_)
    parts.push_back({.site = place.site, .tuner = place.intervention.get()});
  return parts;
}

}  // namespace tunefleet::tuners
