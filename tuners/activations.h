#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace tunefleet::tuners {

using Activation = at::Tensor (*)(const at::Tensor& x);

/// The function of that name (config/activation_names.h), elementwise and differentiable. Throws
/// std::invalid_argument for another name.
Activation activation(std::string_view name);

}  // namespace tunefleet::tuners
