#include "tuners/spectrum_places.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randperm.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>

namespace tunefleet::tuners {

SpectrumPlaces spectrum_places(int64_t out, int64_t in, int64_t count, int64_t seed) {
  if (count > out * in) {
    throw std::invalid_argument(
        c10::str("more entries than the spectrum has: ", count, ", [", out, ", ", in, "]"));
  }
  const at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
  const at::Tensor order = at::randperm(out * in, generator, at::TensorOptions(at::kLong));
  const int64_t* place = order.const_data_ptr<int64_t>();
  SpectrumPlaces places;
  for (int64_t i = 0; i < count; ++i) {
    places.rows.push_back(place[i] / in);
    places.cols.push_back(place[i] % in);
  }
  return places;
}

}  // namespace tunefleet::tuners
