#pragma once

#include <string_view>
#include <vector>

namespace tunefleet::tuners {

/// The activation functions that tuners with networks of their own take, by transformers' names
/// (ACT2FN); tuners/activations.h computes them.
inline std::vector<std::string_view> activation_names() {
  return {"gelu",          "gelu_10", "gelu_fast",  "gelu_new", "gelu_python", "gelu_pytorch_tanh",
          "gelu_accurate", "laplace", "leaky_relu", "linear",   "mish",        "quick_gelu",
          "relu",          "relu2",   "relu6",      "sigmoid",  "silu",        "swish",
          "tanh"};
}

}  // namespace tunefleet::tuners
