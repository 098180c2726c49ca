#include "worker/kernels/square_loops.h"

#include "worker/kernels/lanes.h"

namespace tunefleet::kernels::cpu {
namespace {

template <typename T>
TUNEFLEET_INLINE float sum_body(const T* x, int64_t n) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += load(x[i]) * load(x[i]);
  return sum;
}

}  // namespace

TUNEFLEET_CLONES float sum_of_squares(const float* x, int64_t n) { return sum_body(x, n); }
TUNEFLEET_CLONES float sum_of_squares(const Bf16* x, int64_t n) { return sum_body(x, n); }

}  // namespace tunefleet::kernels::cpu
