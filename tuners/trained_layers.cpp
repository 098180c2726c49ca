#include "tuners/trained_layers.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

RandomStream stream_of(const TunerPlace& place) { return {place.seed, stream_id(place.path)}; }

at::Tensor start_weight(at::IntArrayRef shape, int64_t fan_in, LayerStart start,
                        const TunerPlace& place) {
  if (start == LayerStart::kZero) return at::zeros(shape, at::kFloat);
  const RandomStream stream = stream_of(place.inside("weight"));
  return start == LayerStart::kXavier ? xavier_values(shape, stream)
                                      : kaiming_values(shape, fan_in, stream);
}

at::Tensor start_bias(int64_t size, int64_t fan_in, LayerStart start, const TunerPlace& place) {
  if (start == LayerStart::kZero) return at::zeros({size}, at::kFloat);
  const RandomStream stream = stream_of(place.inside("bias"));
  return start == LayerStart::kXavier ? normal_values({size}, 1e-6, stream)
                                      : kaiming_values({size}, fan_in, stream);
}

void append_layer(const std::string& name, const at::Tensor& weight, const at::Tensor& bias,
                  std::vector<LayerTensor>& tensors) {
  tensors.push_back({.name = name + ".weight", .tensor = weight, .decay = weight.dim() > 1});
  if (bias.defined()) tensors.push_back({.name = name + ".bias", .tensor = bias, .decay = false});
}

}  // namespace

at::Tensor trained(const at::Tensor& values, const TunerPlace& place) {
  const at::NoGradGuard no_grad;
  return values.to(place.device, at::kFloat).detach().set_requires_grad(true);
}

TrainedLinear TrainedLinear::make(int64_t in, int64_t out, LayerStart start,
                                  const TunerPlace& place, bool has_bias) {
  TrainedLinear layer{.weight = trained(start_weight({out, in}, in, start, place), place),
                      .bias = {}};
  if (has_bias) layer.bias = trained(start_bias(out, in, start, place), place);
  return layer;
}

at::Tensor TrainedLinear::operator()(const at::Tensor& x) const {
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

void TrainedLinear::append(const std::string& name, std::vector<LayerTensor>& tensors) const {
  append_layer(name, weight, bias, tensors);
}

TrainedConv TrainedConv::make(const Shape& shape, LayerStart start, const TunerPlace& place) {
  const int64_t fan_in = shape.in * shape.kernel * shape.kernel;
  TrainedConv layer{
      .weight = trained(
          start_weight({shape.out, shape.in, shape.kernel, shape.kernel}, fan_in, start, place),
          place),
      .bias = {},
      .stride = shape.stride,
      .padding = shape.padding};
  if (shape.bias) layer.bias = trained(start_bias(shape.out, fan_in, start, place), place);
  return layer;
}

at::Tensor TrainedConv::operator()(const at::Tensor& x) const {
  return at::conv2d(x, weight, bias, {stride, stride}, {padding, padding});
}

void TrainedConv::append(const std::string& name, std::vector<LayerTensor>& tensors) const {
  append_layer(name, weight, bias, tensors);
}

TrainedGroupNorm TrainedGroupNorm::make(int64_t groups, int64_t channels, const TunerPlace& place) {
  return {.weight = trained(at::ones({channels}), place),
          .bias = trained(at::zeros({channels}), place),
          .groups = groups};
}

at::Tensor TrainedGroupNorm::operator()(const at::Tensor& x) const {
  return at::group_norm(x, groups, weight, bias);
}

void TrainedGroupNorm::append(const std::string& name, std::vector<LayerTensor>& tensors) const {
  append_layer(name, weight, bias, tensors);
}

at::Tensor channels_last(const at::Tensor& x) {
  return x.dim() == 4 ? x.flatten(2).transpose(1, 2) : x;
}

at::Tensor channels_first(const at::Tensor& y, const at::Tensor& like) {
  if (like.dim() != 4) return y;
  return y.transpose(1, 2).reshape({like.size(0), y.size(2), like.size(2), like.size(3)});
}

}  // namespace tunefleet::tuners
