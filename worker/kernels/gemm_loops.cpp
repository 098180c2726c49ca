#include "worker/kernels/gemm_loops.h"

#include <algorithm>
#include <vector>

#include "worker/kernels/gemm_tile.h"

namespace tunefleet::kernels::cpu {
namespace {

constexpr int64_t kTokens = 256;  ///< Tokens that one widening of the weight serves.
constexpr int64_t kOutputs =
    48;  ///< Outputs of one piece of work of gemm_nt: whole tiles of 12, 6.
constexpr int64_t kBlockDepth = 6 * kDepth;  ///< Of the resident A of gemm_nn and gemm_tn.
constexpr int64_t kSmall = 1 << 18;          ///< Multiplications that one thread does alone.

/// Memory of the calling thread for `count` numbers, kept from call to call: fresh pages would
/// cost as much as a small product.
template <int number>
float* scratch(int64_t count) {
  thread_local std::vector<float> memory;
  if (memory.size() < static_cast<size_t>(count)) memory.resize(static_cast<size_t>(count));
  return memory.data();
}

int64_t lanes() { return has_16_lanes() ? 16 : 8; }

/// A panel of B from rows of x: to [k, 2 L] for `tokens` <= 2 L rows, the others 0.
template <int L>
TUNEFLEET_INLINE void token_panel_lanes(const Bf16* x, int64_t tokens, int64_t in, float* to) {
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t k = 0; k < in; k += L) {
      const int64_t n = std::min<int64_t>(L, in - k);
      Lanes<L> square[L];
      for (int64_t r = 0; r < L; ++r) {
        const int64_t token = half * L + r;
        float row[L];
        widen(x + token * in + k, row, token < tokens ? n : 0, L);
        tuners::loops::load(square[r], row);
      }
      transpose(square);
      for (int64_t r = 0; r < n; ++r) {
        tuners::loops::store(to + (k + r) * 2 * L + half * L, square[r]);
      }
    }
  }
}

/// c [outputs, tokens] to y [tokens, outputs].
template <int L>
TUNEFLEET_INLINE void turned(const float* c, int64_t c_stride, const float* bias, Bf16* y,
                             int64_t y_stride, int64_t tokens, int64_t outputs) {
  for (int64_t t = 0; t < tokens; t += L) {
    for (int64_t o = 0; o < outputs; o += L) {
      Lanes<L> square[L];
      for (int64_t r = 0; r < L; ++r) {
        tuners::loops::load(square[r], c + (o + r) * c_stride + t);
      }
      transpose(square);
      const int64_t n = std::min<int64_t>(L, outputs - o);
      for (int64_t r = 0; r < std::min<int64_t>(L, tokens - t); ++r) {
        float row[L];
        tuners::loops::store(row, square[r]);
        narrow(row, bias == nullptr ? nullptr : bias + o, y + (t + r) * y_stride + o, n);
      }
    }
  }
}

/// `outputs` <= kOutputs columns of y for at most kTokens tokens, whose panels are `packed`.
template <int L>
TUNEFLEET_INLINE void outputs_lanes(const Bf16* w, int64_t in, int64_t outputs, const float* packed,
                                    int64_t tokens, const float* bias, Bf16* y, int64_t y_stride,
                                    float* a, float* c) {
  constexpr int64_t kR = kRows<L>;
  const int64_t panels = round_up(tokens, 2 * L) / (2 * L);
  const int64_t stride = panels * 2 * L;
  for (int64_t o = 0; o < round_up(outputs, L); o += kR) {
    for (int64_t from = 0; from < in; from += kDepth) {
      const int64_t depth = std::min(kDepth, in - from);
      for (int64_t r = 0; r < kR; ++r) {
        const bool there = o + r < outputs;
        widen(w + (there ? (o + r) * in + from : 0), a + r * kDepth, there ? depth : 0, depth);
      }
      for (int64_t p = 0; p < panels; ++p) {
        tile<L, Panel::kByRow>(a, packed + (p * in + from) * 2 * L, depth,
                               c + o * stride + p * 2 * L, stride, from > 0);
      }
    }
  }
  turned<L>(c, stride, bias, y, y_stride, tokens, outputs);
}

/// One row of A as gemm_nn keeps it: blocks of kDepth numbers, kRows rows side by side.
template <int L>
TUNEFLEET_INLINE void row_of_a_lanes(const Bf16* from, int64_t depth, float* to) {
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t n = std::min(kDepth, depth - k);
    widen(from == nullptr ? nullptr : from + k, to + k * kRows<L>, from == nullptr ? 0 : n, n);
  }
}

/// kRows columns of dy from a token on as gemm_tn keeps them: [k, kRows].
template <int L>
TUNEFLEET_INLINE void columns_of_a_lanes(const Bf16* from, int64_t row_stride, int64_t depth,
                                         int64_t columns, float* to) {
  for (int64_t k = 0; k < depth; ++k) {
    widen(from + k * row_stride, to + k * kRows<L>, columns, kRows<L>);
  }
}

/// c [rows, columns <= 2 L] += A times `columns` columns of b [depth, width]; A is resident.
template <int L, Panel panel>
TUNEFLEET_INLINE void column_panel(const Bf16* b, int64_t width, int64_t columns, int64_t depth,
                                   const float* a, int64_t rows, float* c, int64_t c_stride,
                                   bool add, float* b_panel) {
  for (int64_t from = 0; from < depth; from += kDepth) {
    const int64_t n = std::min(kDepth, depth - from);
    for (int64_t k = 0; k < n; ++k) {
      widen(b + (from + k) * width, b_panel + k * 2 * L, columns, 2 * L);
    }
    for (int64_t r = 0; r < rows; r += kRows<L>) {
      tile<L, panel>(a + r * kBlockDepth + from * kRows<L>, b_panel, n, c + r * c_stride, c_stride,
                     add || from > 0);
    }
  }
}
template <int L>
TUNEFLEET_INLINE void nn_panel_lanes(const Bf16* b, int64_t width, int64_t columns, int64_t depth,
                                     const float* a, int64_t rows, float* c, int64_t c_stride,
                                     bool add, float* b_panel) {
  column_panel<L, Panel::kByRow>(b, width, columns, depth, a, rows, c, c_stride, add, b_panel);
}
template <int L>
TUNEFLEET_INLINE void tn_panel_lanes(const Bf16* b, int64_t width, int64_t columns, int64_t depth,
                                     const float* a, int64_t rows, float* c, int64_t c_stride,
                                     bool add, float* b_panel) {
  column_panel<L, Panel::kByDepth>(b, width, columns, depth, a, rows, c, c_stride, add, b_panel);
}

TUNEFLEET_CLONES void narrow_row(const float* from, Bf16* to, int64_t n) {
  narrow(from, nullptr, to, n);
}

}  // namespace

TUNEFLEET_FOR_LANES(token_panel, (const Bf16* x, int64_t tokens, int64_t in, float* to),
                    (x, tokens, in, to))
TUNEFLEET_FOR_LANES(outputs,
                    (const Bf16* w, int64_t in, int64_t count, const float* packed, int64_t tokens,
                     const float* bias, Bf16* y, int64_t y_stride, float* a, float* c),
                    (w, in, count, packed, tokens, bias, y, y_stride, a, c))
TUNEFLEET_FOR_LANES(row_of_a, (const Bf16* from, int64_t depth, float* to), (from, depth, to))
TUNEFLEET_FOR_LANES(columns_of_a,
                    (const Bf16* from, int64_t row_stride, int64_t depth, int64_t columns,
                     float* to),
                    (from, row_stride, depth, columns, to))
TUNEFLEET_FOR_LANES(nn_panel,
                    (const Bf16* b, int64_t width, int64_t columns, int64_t depth, const float* a,
                     int64_t rows, float* c, int64_t c_stride, bool add, float* b_panel),
                    (b, width, columns, depth, a, rows, c, c_stride, add, b_panel))
TUNEFLEET_FOR_LANES(tn_panel,
                    (const Bf16* b, int64_t width, int64_t columns, int64_t depth, const float* a,
                     int64_t rows, float* c, int64_t c_stride, bool add, float* b_panel),
                    (b, width, columns, depth, a, rows, c, c_stride, add, b_panel))

void gemm_nt(const Bf16* x, const Bf16* w, const float* bias, Bf16* y, int64_t tokens, int64_t out,
             int64_t in) {
  const int64_t width = 2 * lanes();
  for (int64_t from = 0; from < tokens; from += kTokens) {
    const int64_t count = std::min(kTokens, tokens - from);
    const int64_t panels = round_up(count, width) / width;
    float* packed = scratch<0>(panels * width * in);
#pragma omp parallel if (count * out * in > kSmall)
    {
#pragma omp for schedule(static)
      for (int64_t p = 0; p < panels; ++p) {
        token_panel(x + (from + p * width) * in, std::min(width, count - p * width), in,
                    packed + p * width * in);
      }
      alignas(64) float a[kRows<16> * kDepth];
      alignas(64) float c[kOutputs * kTokens];
#pragma omp for schedule(static)
      for (int64_t o = 0; o < out; o += kOutputs) {
        outputs(w + o * in, in, std::min(kOutputs, out - o), packed, count,
                bias == nullptr ? nullptr : bias + o, y + from * out + o, out, a, c);
      }
    }
  }
}

void gemm_nn(const Bf16* dy, const Bf16* w, Bf16* dx, int64_t tokens, int64_t out, int64_t in) {
  const int64_t width = 2 * lanes();
  const int64_t unit = lanes() == 16 ? kRows<16> : kRows<8>;
  const int64_t stride = round_up(in, width);
  for (int64_t first = 0; first < tokens; first += kTokens) {
    const int64_t count = std::min(kTokens, tokens - first);
    const int64_t rows = round_up(count, unit);
    float* a = scratch<0>(rows * kBlockDepth);
    float* c = scratch<1>(rows * stride);
#pragma omp parallel if (count * out * in > kSmall)
    {
      alignas(64) float b[kDepth * kColumns<16>];
      for (int64_t from = 0; from < out; from += kBlockDepth) {
        const int64_t depth = std::min(kBlockDepth, out - from);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; ++r) {
          row_of_a(r < count ? dy + (first + r) * out + from : nullptr, depth,
                   a + r / unit * unit * kBlockDepth + r % unit * kDepth);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < in; i += width) {
          nn_panel(w + from * in + i, in, std::min(width, in - i), depth, a, count, c + i, stride,
                   from > 0, b);
        }
      }
#pragma omp for schedule(static)
      for (int64_t r = 0; r < count; ++r) narrow_row(c + r * stride, dx + (first + r) * in, in);
    }
  }
}

void gemm_tn(const Bf16* dy, const Bf16* x, Bf16* dw, int64_t tokens, int64_t out, int64_t in) {
  const int64_t width = 2 * lanes();
  const int64_t unit = lanes() == 16 ? kRows<16> : kRows<8>;
  const int64_t stride = round_up(in, width);
  const int64_t block = kTokens / unit * unit;  // of outputs
  for (int64_t first = 0; first < out; first += block) {
    const int64_t count = std::min(block, out - first);
    const int64_t rows = round_up(count, unit);
    float* a = scratch<0>(rows * kBlockDepth);
    float* c = scratch<1>(rows * stride);
#pragma omp parallel if (count * tokens * in > kSmall)
    {
      alignas(64) float b[kDepth * kColumns<16>];
      for (int64_t from = 0; from < tokens; from += kBlockDepth) {
        const int64_t depth = std::min(kBlockDepth, tokens - from);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r += unit) {
          columns_of_a(dy + from * out + first + r, out, depth, std::min(unit, count - r),
                       a + r * kBlockDepth);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < in; i += width) {
          tn_panel(x + from * in + i, in, std::min(width, in - i), depth, a, count, c + i, stride,
                   from > 0, b);
        }
      }
#pragma omp for schedule(static)
      for (int64_t r = 0; r < count; ++r) narrow_row(c + r * stride, dw + (first + r) * in, in);
    }
  }
}

}  // namespace tunefleet::kernels::cpu
