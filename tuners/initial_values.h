#pragma once

#include <ATen/core/Tensor.h>

#include "tuners/random.h"

/// Initial values of tuners, float32 on the CPU. Each tensor is drawn from a stream of its own
/// (seed, path, adapter), so that it depends neither on other tensors nor on the order of creation.
namespace tunefleet::tuners {

/// U(-bound, bound).
at::Tensor uniform_values(at::IntArrayRef shape, double bound, RandomStream stream);
/// N(0, deviation^2).
at::Tensor normal_values(at::IntArrayRef shape, double deviation, RandomStream stream);
/// torch.nn.init.kaiming_uniform_(a = sqrt(5)): U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
at::Tensor kaiming_values(at::IntArrayRef shape, int64_t fan_in, RandomStream stream);
/// torch.nn.init.xavier_uniform_ of a matrix [rows, cols].
at::Tensor xavier_values(at::IntArrayRef shape, RandomStream stream);

}  // namespace tunefleet::tuners
