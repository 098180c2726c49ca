#include "tuners/dora.h"

namespace tunefleet::tuners {

at::Tensor dora_scale(const at::Tensor& magnitude, const at::Tensor& norm) {
  return magnitude.to(at::kFloat).view({-1}).div(norm);
}

at::Tensor dora_output(const at::Tensor& y, const at::Tensor& plain, const at::Tensor& low,
                       const at::Tensor& scale) {
  return y.add(scale.sub(1).mul(plain)).add(scale.mul(low));
}

}  // namespace tunefleet::tuners
