#include <algorithm>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/lanes.h"

namespace tunefleet::kernels::cpu {
namespace {

constexpr int64_t kColumns = 192;  // A thread takes these of all rows: each sum has one order.

template <typename T>
TUNEFLEET_INLINE void rescale_row(const T* u, const float* scale, const float* bias, T* y,
                                  int64_t n) {
  if (bias == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(y + i, load(u[i]) * scale[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(y + i, load(u[i]) * scale[i] + bias[i]);
  }
}

template <typename T>
TUNEFLEET_INLINE void rescale_backward_row(const T* dy, const T* u, const float* scale, T* du,
                                           float* sums, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float d = load(dy[i]);
    sums[i] += d * load(u[i]);
    store(du + i, d * scale[i]);
  }
}

TUNEFLEET_CLONES void forward_one(const float* u, const float* s, const float* b, float* y,
                                  int64_t n) {
  rescale_row(u, s, b, y, n);
}
TUNEFLEET_CLONES void forward_one(const Bf16* u, const float* s, const float* b, Bf16* y,
                                  int64_t n) {
  rescale_row(u, s, b, y, n);
}
TUNEFLEET_CLONES void backward_one(const float* dy, const float* u, const float* s, float* du,
                                   float* sums, int64_t n) {
  rescale_backward_row(dy, u, s, du, sums, n);
}
TUNEFLEET_CLONES void backward_one(const Bf16* dy, const Bf16* u, const float* s, Bf16* du,
                                   float* sums, int64_t n) {
  rescale_backward_row(dy, u, s, du, sums, n);
}

}  // namespace

template <typename T>
void rescale(const T* u, const float* scale, const float* bias, T* y, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static) if (rows * width > 16384)
  for (int64_t n = 0; n < rows; ++n) forward_one(u + n * width, scale, bias, y + n * width, width);
}

template <typename T>
void rescale_backward(const T* dy, const T* u, const float* scale, T* du, float* sums, int64_t rows,
                      int64_t width) {
#pragma omp parallel for schedule(static) if (rows * width > 16384)
  for (int64_t c = 0; c < width; c += kColumns) {
    const int64_t count = std::min(kColumns, width - c);
    for (int64_t n = 0; n < rows; ++n) {
      const int64_t at = n * width + c;
      backward_one(dy + at, u + at, scale + c, du + at, sums + c, count);
    }
  }
}

template void rescale(const float*, const float*, const float*, float*, int64_t, int64_t);
template void rescale(const Bf16*, const float*, const float*, Bf16*, int64_t, int64_t);
template void rescale_backward(const float*, const float*, const float*, float*, float*, int64_t,
                               int64_t);
template void rescale_backward(const Bf16*, const Bf16*, const float*, Bf16*, float*, int64_t,
                               int64_t);

}  // namespace tunefleet::kernels::cpu
