#include <algorithm>

#include "tuners/random.h"
#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/lanes.h"

namespace tunefleet::kernels::cpu {
namespace {

constexpr int64_t kBlock = 4096;  // Elements a thread takes at a time.

template <typename T>
TUNEFLEET_INLINE void swiglu_forward_block(const T* gate, const T* up, T* h, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = load(gate[i]);
    store(h + i, rounded_as(h, g * sigmoid(g)) * load(up[i]));
  }
}

template <typename T>
TUNEFLEET_INLINE void swiglu_backward_block(const T* gate, const T* up, const T* dh, T* dgate,
                                            T* dup, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = load(gate[i]);
    const float d = load(dh[i]);
    const float s = sigmoid(g);
    const float u = load(up[i]);
    store(dup + i, d * rounded_as(dup, g * s));
    store(dgate + i, d * u * s * (1.0F + g * (1.0F - s)));
  }
}

TUNEFLEET_CLONES void forward_block(const float* g, const float* u, float* h, int64_t n) {
  swiglu_forward_block(g, u, h, n);
}
TUNEFLEET_CLONES void forward_block(const Bf16* g, const Bf16* u, Bf16* h, int64_t n) {
  swiglu_forward_block(g, u, h, n);
}
TUNEFLEET_CLONES void backward_block(const float* g, const float* u, const float* dh, float* dg,
                                     float* du, int64_t n) {
  swiglu_backward_block(g, u, dh, dg, du, n);
}
TUNEFLEET_CLONES void backward_block(const Bf16* g, const Bf16* u, const Bf16* dh, Bf16* dg,
                                     Bf16* du, int64_t n) {
  swiglu_backward_block(g, u, dh, dg, du, n);
}

template <typename T>
TUNEFLEET_INLINE void rope_head(const T* x, const float* cos, const float* sin, T* out,
                                int64_t half, float direction) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = load(x[i]);
    const float b = load(x[half + i]);
    const float s = sin[i] * direction;
    store(out + i, a * cos[i] - b * s);
    store(out + half + i, b * cos[i] + a * s);
  }
}

TUNEFLEET_CLONES void rope_one(const float* x, const float* cos, const float* sin, float* out,
                               int64_t half, float direction) {
  rope_head(x, cos, sin, out, half, direction);
}
TUNEFLEET_CLONES void rope_one(const Bf16* x, const float* cos, const float* sin, Bf16* out,
                               int64_t half, float direction) {
  rope_head(x, cos, sin, out, half, direction);
}

/// 32 random bits for element c of a token: a mix of the token's own key and c.
TUNEFLEET_INLINE uint32_t draw(uint64_t token, int64_t c) {
  uint64_t x = token + static_cast<uint64_t>(c) * 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ULL;
  return static_cast<uint32_t>((x ^ (x >> 32)) >> 16);
}

template <typename T>
TUNEFLEET_INLINE void dropout_row(const T* x, T* out, uint64_t token, int64_t width,
                                  uint32_t threshold, float scale) {
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) {
    store(out + c, draw(token, c) < threshold ? 0.0F : load(x[c]) * scale);
  }
}

TUNEFLEET_CLONES void dropout_one(const float* x, float* out, uint64_t token, int64_t width,
                                  uint32_t threshold, float scale) {
  dropout_row(x, out, token, width, threshold, scale);
}
TUNEFLEET_CLONES void dropout_one(const Bf16* x, Bf16* out, uint64_t token, int64_t width,
                                  uint32_t threshold, float scale) {
  dropout_row(x, out, token, width, threshold, scale);
}

}  // namespace

template <typename T>
void swiglu_forward(const T* gate, const T* up, T* h, int64_t n) {
#pragma omp parallel for schedule(static) if (n > 4 * kBlock)
  for (int64_t i = 0; i < n; i += kBlock)
    forward_block(gate + i, up + i, h + i, std::min(kBlock, n - i));
}

template <typename T>
void swiglu_backward(const T* gate, const T* up, const T* dh, T* dgate, T* dup, int64_t n) {
#pragma omp parallel for schedule(static) if (n > 4 * kBlock)
  for (int64_t i = 0; i < n; i += kBlock) {
    backward_block(gate + i, up + i, dh + i, dgate + i, dup + i, std::min(kBlock, n - i));
  }
}

template <typename T>
void rope(const T* x, int64_t row_stride, const float* cos, const float* sin, T* out, int64_t rows,
          int64_t heads, int64_t half, float direction) {
#pragma omp parallel for schedule(static) if (rows * heads * half > 16384)
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t h = 0; h < heads; ++h) {
      rope_one(x + n * row_stride + h * 2 * half, cos + n * half, sin + n * half,
               out + (n * heads + h) * 2 * half, half, direction);
    }
  }
}

template <typename T>
void dropout(const T* x, T* out, const int64_t* token_keys, int64_t rows, int64_t width,
             uint64_t key, double p) {
  const auto threshold = static_cast<uint32_t>(std::min(p * 4294967296.0, 4294967295.0));
  const auto scale = static_cast<float>(1.0 / (1.0 - p));
#pragma omp parallel for schedule(static) if (rows * width > 16384)
  for (int64_t n = 0; n < rows; ++n) {
    dropout_one(x + n * width, out + n * width,
                tuners::mix(key, static_cast<uint64_t>(token_keys[n])), width, threshold, scale);
  }
}

template void swiglu_forward(const float*, const float*, float*, int64_t);
template void swiglu_forward(const Bf16*, const Bf16*, Bf16*, int64_t);
template void swiglu_backward(const float*, const float*, const float*, float*, float*, int64_t);
template void swiglu_backward(const Bf16*, const Bf16*, const Bf16*, Bf16*, Bf16*, int64_t);
template void rope(const float*, int64_t, const float*, const float*, float*, int64_t, int64_t,
                   int64_t, float);
template void rope(const Bf16*, int64_t, const float*, const float*, Bf16*, int64_t, int64_t,
                   int64_t, float);
template void dropout(const float*, float*, const int64_t*, int64_t, int64_t, uint64_t, double);
template void dropout(const Bf16*, Bf16*, const int64_t*, int64_t, int64_t, uint64_t, double);

}  // namespace tunefleet::kernels::cpu
