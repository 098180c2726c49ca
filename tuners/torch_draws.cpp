#include "tuners/torch_draws.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <utility>

namespace tunefleet::tuners {

at::Generator torch_generator(int64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
}

at::Generator unseeded_torch_generator() { return at::make_generator<at::CPUGeneratorImpl>(); }

at::Tensor torch_uniform(at::IntArrayRef shape, double bound, at::Generator generator,
                         at::ScalarType type) {
  const at::NoGradGuard no_grad;
  return at::empty(shape, type).uniform_(-bound, bound, std::move(generator));
}

}  // namespace tunefleet::tuners
