#include "tuners/sparse_loops.h"

#include <algorithm>

namespace tunefleet::tuners::cpu {
namespace {

// One clone for each level of the instruction set, chosen when the program is loaded.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TUNEFLEET_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TUNEFLEET_CLONES
#endif

constexpr int64_t kBlock = 128;  ///< Tokens summed in registers at a time.

TUNEFLEET_CLONES void product_of_row(const SparseRows& s, int64_t row, const float* values,
                                     const float* x, float* y, int64_t tokens) {
  float* out = y + row * tokens;
  for (int64_t start = 0; start < tokens; start += kBlock) {
    const int64_t width = std::min(kBlock, tokens - start);
    float sum[kBlock] = {};
    if (width == kBlock) {
      for (int32_t e = s.first[row]; e < s.first[row + 1]; ++e) {
        const float value = values[s.place[e]];
        const float* in = x + s.col[e] * tokens + start;
        for (int64_t t = 0; t < kBlock; ++t) sum[t] += value * in[t];
      }
    } else {
      for (int32_t e = s.first[row]; e < s.first[row + 1]; ++e) {
        const float value = values[s.place[e]];
        const float* in = x + s.col[e] * tokens + start;
        for (int64_t t = 0; t < width; ++t) sum[t] += value * in[t];
      }
    }
    std::copy(sum, sum + width, out + start);
  }
}

constexpr int64_t kLanes =
    32;  ///< Sums side by side: the order of addition is the same everywhere.

TUNEFLEET_CLONES void sampled_row(const SparseRows& s, int64_t row, const float* y, const float* x,
                                  float* grad, int64_t tokens) {
  const float* left = y + row * tokens;
  for (int32_t e = s.first[row]; e < s.first[row + 1]; ++e) {
    const float* right = x + s.col[e] * tokens;
    float lanes[kLanes] = {};
    int64_t t = 0;
    for (; t + kLanes <= tokens; t += kLanes) {
      for (int64_t i = 0; i < kLanes; ++i) lanes[i] += left[t + i] * right[t + i];
    }
    float sum = 0.0F;
    for (; t < tokens; ++t) sum += left[t] * right[t];
    for (const float lane : lanes) sum += lane;
    grad[s.place[e]] = sum;
  }
}

}  // namespace

void sparse_product(const SparseRows& s, const float* values, const float* x, float* y,
                    int64_t tokens, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) product_of_row(s, row, values, x, y, tokens);
}

void sampled_product(const SparseRows& s, const float* y, const float* x, float* grad,
                     int64_t tokens, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) sampled_row(s, row, y, x, grad, tokens);
}

}  // namespace tunefleet::tuners::cpu
