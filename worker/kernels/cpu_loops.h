#pragma once

#include <cstdint>

/// The inner loops of the CPU kernels on plain memory: no torch here, so that they are compiled
/// with flags of their own
/// (-O3, one clone for each instruction set). All rows are contiguous; work is split over rows by
/// OpenMP, with the thread count that torch set. `Bf16` is bfloat16 as stored; arithmetic is in
/// float32, rounded once on store, and where Hugging Face's code rounds in between, so do we.
namespace tunefleet::kernels::cpu {

struct Bf16 {
  uint16_t bits;
};

/// y[n,c] = w[c] * round(x[n,c] * inv[n]), inv[n] = 1 / sqrt(mean(x^2) + eps).
template <typename T>
void rms_norm_forward(const T* x, const T* weight, T* y, float* inv, int64_t rows, int64_t width,
                      float eps);

/// dx from dy. `dweight`, when not null, is float32 [width] and is added to.
template <typename T>
void rms_norm_backward(const T* x, const T* weight, const T* dy, const float* inv, T* dx,
                       float* dweight, int64_t rows, int64_t width);

/// h = silu(gate) * up, n elements.
template <typename T>
void swiglu_forward(const T* gate, const T* up, T* h, int64_t n);

template <typename T>
void swiglu_backward(const T* gate, const T* up, const T* dh, T* dgate, T* dup, int64_t n);

/// Rotates each head of x [rows, heads, 2*half]: out1 = x1 cos - x2 sin, out2 = x2 cos + x1 sin,
/// halves as in Hugging Face's rotate_half. cos, sin float32 [rows, half]. `direction` -1 rotates
/// back (the backward). `row_stride` is x's; out is contiguous.
template <typename T>
void rope(const T* x, int64_t row_stride, const float* cos, const float* sin, T* out, int64_t rows,
          int64_t heads, int64_t half, float direction);

/// Cross-entropy of each row of logits [rows, vocab], in place: logits become scale * (softmax -
/// onehot). loss[row] = logsumexp - logit[target]; correct[row] = 1 where the target has the
/// (first) largest logit.
template <typename T>
void cross_entropy(T* logits, const int64_t* targets, float* loss, uint8_t* correct, int64_t rows,
                   int64_t vocab, float scale, bool write_gradient);

/// out = x * keep / (1 - p); keep is drawn for element (token_keys[n], c) from `key`: see
/// dropout.h.
template <typename T>
void dropout(const T* x, T* out, const int64_t* token_keys, int64_t rows, int64_t width,
             uint64_t key, double p);

/// y[n,c] = u[n,c] * scale[c] + bias[c]; `bias` may be null. y may be u.
template <typename T>
void rescale(const T* u, const float* scale, const float* bias, T* y, int64_t rows, int64_t width);

/// du[n,c] = dy[n,c] * scale[c]; sums[c] += sum over n of dy[n,c] * u[n,c].
template <typename T>
void rescale_backward(const T* dy, const T* u, const float* scale, T* du, float* sums,
                      int64_t rows, int64_t width);

}  // namespace tunefleet::kernels::cpu
