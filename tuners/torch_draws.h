#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>

/// Draws that equal torch's in Python: of what PEFT's files leave out, because it can be drawn
/// again. Everything else is drawn from tuners/random.h.
namespace tunefleet::tuners {

/// torch.Generator("cpu").manual_seed(seed).
at::Generator torch_generator(int64_t seed);
/// torch.Generator("cpu") as it comes, without a seed: always the same.
at::Generator unseeded_torch_generator();

/// The generator's next values, U(-bound, bound).
at::Tensor torch_uniform(at::IntArrayRef shape, double bound, at::Generator generator,
                         at::ScalarType type = at::kFloat);

}  // namespace tunefleet::tuners
