#include "tuners/activations.h"

#include <ATen/ops/clamp.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/relu6.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>
#include <c10/util/StringUtil.h>

#include <map>
#include <stdexcept>
#include <string>

namespace tunefleet::tuners {
namespace {

at::Tensor exact_gelu(const at::Tensor& x) { return at::gelu(x); }
at::Tensor tanh_gelu(const at::Tensor& x) { return at::gelu(x, "tanh"); }
at::Tensor clipped_gelu(const at::Tensor& x) { return at::clamp(at::gelu(x), -10, 10); }
at::Tensor quick_gelu(const at::Tensor& x) { return x.mul(at::sigmoid(x.mul(1.702))); }
at::Tensor linear(const at::Tensor& x) { return x; }
at::Tensor squared_relu(const at::Tensor& x) { return at::relu(x).square(); }
at::Tensor leaky(const at::Tensor& x) { return at::leaky_relu(x); }

/// The normal distribution's function of mean 0.707107 and deviation 0.282095 (MEGA, Ma et al.
/// 2022, arXiv:2209.10655).
at::Tensor laplace(const at::Tensor& x) {
  constexpr double kRootOf2 = 1.4142135623730951;
  return at::erf(x.sub(0.707107).div(0.282095 * kRootOf2)).add(1.0).mul(0.5);
}

}  // namespace

Activation activation(std::string_view name) {
  static const std::map<std::string_view, Activation> functions{{"gelu", &exact_gelu},
                                                                {"gelu_10", &clipped_gelu},
                                                                {"gelu_accurate", &tanh_gelu},
                                                                {"gelu_fast", &tanh_gelu},
                                                                {"gelu_new", &tanh_gelu},
                                                                {"gelu_python", &exact_gelu},
                                                                {"gelu_pytorch_tanh", &tanh_gelu},
                                                                {"laplace", &laplace},
                                                                {"leaky_relu", &leaky},
                                                                {"linear", &linear},
                                                                {"mish", &at::mish},
                                                                {"quick_gelu", &quick_gelu},
                                                                {"relu", &at::relu},
                                                                {"relu2", &squared_relu},
                                                                {"relu6", &at::relu6},
                                                                {"sigmoid", &at::sigmoid},
                                                                {"silu", &at::silu},
                                                                {"swish", &at::silu},
                                                                {"tanh", &at::tanh}};
  const auto found = functions.find(name);
  if (found != functions.end()) return found->second;
  throw std::invalid_argument(c10::str("no such activation function: ", std::string(name)));
}

}  // namespace tunefleet::tuners
