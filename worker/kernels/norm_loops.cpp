#include <cmath>
#include <vector>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/lanes.h"

namespace tunefleet::kernels::cpu {
namespace {

template <typename T>
TUNEFLEET_INLINE void forward_row(const T* x, const T* weight, T* y, float* inv, int64_t width,
                                  float eps) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < width; ++c) squares += load(x[c]) * load(x[c]);
  const float scale = 1.0F / std::sqrt(squares / static_cast<float>(width) + eps);
  *inv = scale;
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) {
    store(y + c, load(weight[c]) * rounded_as(y, load(x[c]) * scale));
  }
}

template <typename T>
TUNEFLEET_INLINE void backward_row(const T* x, const T* weight, const T* dy, float inv, T* dx,
                                   float* dweight, int64_t width) {
  float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
  for (int64_t c = 0; c < width; ++c) dot += load(weight[c]) * load(dy[c]) * load(x[c]);
  const float correction = dot * inv * inv * inv / static_cast<float>(width);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) {
    store(dx + c, load(weight[c]) * load(dy[c]) * inv - load(x[c]) * correction);
  }
  if (dweight == nullptr) return;
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) dweight[c] += load(dy[c]) * rounded_as(dy, load(x[c]) * inv);
}

TUNEFLEET_CLONES void forward_one(const float* x, const float* w, float* y, float* inv,
                                  int64_t width, float eps) {
  forward_row(x, w, y, inv, width, eps);
}
TUNEFLEET_CLONES void forward_one(const Bf16* x, const Bf16* w, Bf16* y, float* inv, int64_t width,
                                  float eps) {
  forward_row(x, w, y, inv, width, eps);
}
TUNEFLEET_CLONES void backward_one(const float* x, const float* w, const float* dy, float inv,
                                   float* dx, float* dweight, int64_t width) {
  backward_row(x, w, dy, inv, dx, dweight, width);
}
TUNEFLEET_CLONES void backward_one(const Bf16* x, const Bf16* w, const Bf16* dy, float inv,
                                   Bf16* dx, float* dweight, int64_t width) {
  backward_row(x, w, dy, inv, dx, dweight, width);
}

}  // namespace

template <typename T>
void rms_norm_forward(const T* x, const T* weight, T* y, float* inv, int64_t rows, int64_t width,
                      float eps) {
#pragma omp parallel for schedule(static) if (rows * width > 16384)
  for (int64_t n = 0; n < rows; ++n) {
    forward_one(x + n * width, weight, y + n * width, inv + n, width, eps);
  }
}

template <typename T>
void rms_norm_backward(const T* x, const T* weight, const T* dy, const float* inv, T* dx,
                       float* dweight, int64_t rows, int64_t width) {
  if (dweight !=
      nullptr) {  // Rare (norms in modules_to_save): serial, so that the sum has one order.
    for (int64_t n = 0; n < rows; ++n) {
      backward_one(x + n * width, weight, dy + n * width, inv[n], dx + n * width, dweight, width);
    }
    return;
  }
#pragma omp parallel for schedule(static) if (rows * width > 16384)
  for (int64_t n = 0; n < rows; ++n) {
    backward_one(x + n * width, weight, dy + n * width, inv[n], dx + n * width, nullptr, width);
  }
}

template void rms_norm_forward(const float*, const float*, float*, float*, int64_t, int64_t, float);
template void rms_norm_forward(const Bf16*, const Bf16*, Bf16*, float*, int64_t, int64_t, float);
template void rms_norm_backward(const float*, const float*, const float*, const float*, float*,
                                float*, int64_t, int64_t);
template void rms_norm_backward(const Bf16*, const Bf16*, const Bf16*, const float*, Bf16*, float*,
                                int64_t, int64_t);

}  // namespace tunefleet::kernels::cpu
