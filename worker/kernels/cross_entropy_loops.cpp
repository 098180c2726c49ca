#include <cmath>
#include <limits>

#include "worker/kernels/cpu_loops.h"
#include "worker/kernels/lanes.h"

namespace tunefleet::kernels::cpu {
namespace {

template <typename T>
TUNEFLEET_INLINE float largest(const T* row, int64_t vocab) {
  float top = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : top)
  for (int64_t v = 0; v < vocab; ++v) top = load(row[v]) > top ? load(row[v]) : top;
  return top;
}

/// Sum of e^(x - top), in blocks, so that float32 partial sums stay short.
template <typename T>
TUNEFLEET_INLINE double exp_sum(const T* row, int64_t vocab, float top) {
  constexpr int64_t kBlock = 1024;
  double total = 0.0;
  for (int64_t from = 0; from < vocab; from += kBlock) {
    const int64_t to = from + kBlock < vocab ? from + kBlock : vocab;
    float part = 0.0F;
#pragma omp simd reduction(+ : part)
    for (int64_t v = from; v < to; ++v) part += exp_approx(load(row[v]) - top);
    total += part;
  }
  return total;
}

template <typename T>
TUNEFLEET_INLINE void row_body(T* row, int64_t target, float* loss, uint8_t* correct, int64_t vocab,
                               float scale, bool write_gradient) {
  const float top = largest(row, vocab);
  const double sum = exp_sum(row, vocab, top);
  const float wanted = load(row[target]);
  *loss = static_cast<float>(std::log(sum)) + (top - wanted);
  *correct = wanted == top;
  if (!write_gradient) return;
  const float factor = static_cast<float>(scale / sum);
#pragma omp simd
  for (int64_t v = 0; v < vocab; ++v) store(row + v, exp_approx(load(row[v]) - top) * factor);
  const float probability = static_cast<float>(std::exp(static_cast<double>(wanted - top)) / sum);
  store(row + target, (probability - 1.0F) * scale);
}

TUNEFLEET_CLONES void one_row(float* row, int64_t target, float* loss, uint8_t* correct,
                              int64_t vocab, float scale, bool write_gradient) {
  row_body(row, target, loss, correct, vocab, scale, write_gradient);
}
TUNEFLEET_CLONES void one_row(Bf16* row, int64_t target, float* loss, uint8_t* correct,
                              int64_t vocab, float scale, bool write_gradient) {
  row_body(row, target, loss, correct, vocab, scale, write_gradient);
}

}  // namespace

template <typename T>
void cross_entropy(T* logits, const int64_t* targets, float* loss, uint8_t* correct, int64_t rows,
                   int64_t vocab, float scale, bool write_gradient) {
#pragma omp parallel for schedule(static) if (rows * vocab > 16384)
  for (int64_t n = 0; n < rows; ++n) {
    one_row(logits + n * vocab, targets[n], loss + n, correct + n, vocab, scale, write_gradient);
  }
}

template void cross_entropy(float*, const int64_t*, float*, uint8_t*, int64_t, int64_t, float,
                            bool);
template void cross_entropy(Bf16*, const int64_t*, float*, uint8_t*, int64_t, int64_t, float, bool);

}  // namespace tunefleet::kernels::cpu
