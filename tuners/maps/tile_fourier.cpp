#include "tuners/maps/tile_fourier.h"

#include <cmath>
#include <numbers>

#include "tuners/maps/tile_lanes.h"

namespace tunefleet::tuners::loops {
namespace {

using Stage = TileFourier::Stage;

constexpr int64_t kPairs = kTile / 2;       ///< Complex numbers of a feature.
constexpr int64_t kCachedFeatures = 256;    ///< What stays in the first cache, 32 KiB.
constexpr float kHalfRoot3 = 0.866025404F;  // sin(2 pi / 3)
constexpr float kHalfRoot2 = 0.707106781F;
constexpr float kCos1 = 0.309016994F, kCos2 = -0.809016994F;  // of 2 pi / 5 and twice that
constexpr float kSin1 = 0.951056516F, kSin2 = 0.587785252F;

/// A complex number of each lane.
template <int kLanes>
struct Complex {
  Lanes<kLanes> re, im;
};

template <typename C>
TUNEFLEET_INLINE void add(C& to, const C& a, const C& b) {
  to.re = a.re + b.re;
  to.im = a.im + b.im;
}
template <typename C>
TUNEFLEET_INLINE void subtract(C& to, const C& a, const C& b) {
  to.re = a.re - b.re;
  to.im = a.im - b.im;
}
/// a + i b and a - i b.
template <typename C>
TUNEFLEET_INLINE void add_turned(C& plus, C& minus, const C& a, const C& b) {
  plus.re = a.re - b.im;
  plus.im = a.im + b.re;
  minus.re = a.re + b.im;
  minus.im = a.im - b.re;
}
template <typename C>
TUNEFLEET_INLINE void multiply(C& a, float re, float im) {
  const C b = a;
  a.re = b.re * re - b.im * im;
  a.im = b.re * im + b.im * re;
}

// Sums over k of a[k] e^(2 pi i k l / radix) for every l, in place.
template <int kRadix, typename C>
struct Butterfly;

template <typename C>
struct Butterfly<2, C> {
  static TUNEFLEET_INLINE void run(C* a) {
    const C first = a[0];
    add(a[0], first, a[1]);
    subtract(a[1], first, a[1]);
  }
};

template <typename C>
struct Butterfly<3, C> {
  static TUNEFLEET_INLINE void run(C* a) {
    C sum, turned, rest;
    add(sum, a[1], a[2]);
    turned.re = kHalfRoot3 * (a[1].re - a[2].re);
    turned.im = kHalfRoot3 * (a[1].im - a[2].im);
    rest.re = a[0].re - 0.5F * sum.re;
    rest.im = a[0].im - 0.5F * sum.im;
    add(a[0], a[0], sum);
    add_turned(a[1], a[2], rest, turned);
  }
};

template <typename C>
struct Butterfly<4, C> {
  static TUNEFLEET_INLINE void run(C* a) {
    C even, odd, even_rest, odd_rest;
    add(even, a[0], a[2]);
    subtract(even_rest, a[0], a[2]);
    add(odd, a[1], a[3]);
    subtract(odd_rest, a[1], a[3]);
    add(a[0], even, odd);
    subtract(a[2], even, odd);
    add_turned(a[1], a[3], even_rest, odd_rest);
  }
};

template <typename C>
struct Butterfly<5, C> {
  static TUNEFLEET_INLINE void run(C* a) {
    C s1, s2, d1, d2, p1, p2, q1, q2;
    add(s1, a[1], a[4]);
    subtract(d1, a[1], a[4]);
    add(s2, a[2], a[3]);
    subtract(d2, a[2], a[3]);
    p1.re = a[0].re + kCos1 * s1.re + kCos2 * s2.re;
    p1.im = a[0].im + kCos1 * s1.im + kCos2 * s2.im;
    p2.re = a[0].re + kCos2 * s1.re + kCos1 * s2.re;
    p2.im = a[0].im + kCos2 * s1.im + kCos1 * s2.im;
    q1.re = kSin1 * d1.re + kSin2 * d2.re;
    q1.im = kSin1 * d1.im + kSin2 * d2.im;
    q2.re = kSin2 * d1.re - kSin1 * d2.re;
    q2.im = kSin2 * d1.im - kSin1 * d2.im;
    add(a[0], a[0], s1);
    add(a[0], a[0], s2);
    add_turned(a[1], a[4], p1, q1);
    add_turned(a[2], a[3], p2, q2);
  }
};

template <typename C>
struct Butterfly<8, C> {
  static TUNEFLEET_INLINE void run(C* a) {
    C even[4], odd[4];
    for (int k = 0; k < 4; ++k) {
      add(even[k], a[k], a[k + 4]);
      subtract(odd[k], a[k], a[k + 4]);
    }
    multiply(odd[1], kHalfRoot2, kHalfRoot2);
    multiply(odd[2], 0.0F, 1.0F);
    multiply(odd[3], -kHalfRoot2, kHalfRoot2);
    Butterfly<4, C>::run(even);
    Butterfly<4, C>::run(odd);
    for (int k = 0; k < 4; ++k) {
      a[2 * k] = even[k];
      a[2 * k + 1] = odd[k];
    }
  }
};

/// One stage over neighbouring blocks.
struct Pass {
  const Stage* stage;
  int64_t blocks, real, imaginary;
  bool synthesis;
};

template <int kLanes, int kRadix, bool kSynthesis, bool kTwiddles>
TUNEFLEET_INLINE void run_radix(const Pass& pass, float* tile) {
  using C = Complex<kLanes>;
  const int64_t m = pass.stage->m, n = pass.stage->n;
  const float* twiddles = pass.stage->twiddles.data();
  for (int64_t block = 0; block < pass.blocks; ++block) {
    for (int64_t j = 0; j < m; ++j) {
      float* first = tile + (block * n + j) * kTile;
      const float* w = twiddles + j * (kRadix - 1) * 2;
      for (int64_t part = 0; part < kPairs; part += kLanes) {
        C a[kRadix];
        for (int k = 0; k < kRadix; ++k) {
          load(a[k].re, first + k * m * kTile + pass.real + part);
          load(a[k].im, first + k * m * kTile + pass.imaginary + part);
          if (kTwiddles && kSynthesis && k > 0) multiply(a[k], w[2 * k - 2], w[2 * k - 1]);
        }
        Butterfly<kRadix, C>::run(a);
        for (int k = 0; k < kRadix; ++k) {
          if (kTwiddles && !kSynthesis && k > 0) multiply(a[k], w[2 * k - 2], w[2 * k - 1]);
          store(first + k * m * kTile + pass.real + part, a[k].re);
          store(first + k * m * kTile + pass.imaginary + part, a[k].im);
        }
      }
    }
  }
}

/// Any radix, by its definition.
template <int kLanes>
TUNEFLEET_INLINE void run_any_radix(const Pass& pass, float* tile, float* scratch) {
  using C = Complex<kLanes>;
  const int64_t radix = pass.stage->radix, m = pass.stage->m, n = pass.stage->n;
  const float* roots = pass.stage->roots.data();
  for (int64_t block = 0; block < pass.blocks; ++block) {
    for (int64_t j = 0; j < m; ++j) {
      float* first = tile + (block * n + j) * kTile;
      const float* w = pass.stage->twiddles.data() + j * (radix - 1) * 2;
      for (int64_t part = 0; part < kPairs; part += kLanes) {
        for (int64_t k = 0; k < radix; ++k) {
          C a;
          load(a.re, first + k * m * kTile + pass.real + part);
          load(a.im, first + k * m * kTile + pass.imaginary + part);
          if (pass.synthesis && k > 0) multiply(a, w[2 * k - 2], w[2 * k - 1]);
          store(scratch + k * 2 * kLanes, a.re);
          store(scratch + (k * 2 + 1) * kLanes, a.im);
        }
        for (int64_t l = 0; l < radix; ++l) {
          C sum = {};
          for (int64_t k = 0, root = 0; k < radix; ++k) {
            C a;
            load(a.re, scratch + k * 2 * kLanes);
            load(a.im, scratch + (k * 2 + 1) * kLanes);
            multiply(a, roots[2 * root], roots[2 * root + 1]);
            add(sum, sum, a);
            root += l;
            if (root >= radix) root -= radix;
          }
          if (!pass.synthesis && l > 0) multiply(sum, w[2 * l - 2], w[2 * l - 1]);
          store(first + l * m * kTile + pass.real + part, sum.re);
          store(first + l * m * kTile + pass.imaginary + part, sum.im);
        }
      }
    }
  }
}

template <int kLanes, int kRadix>
TUNEFLEET_INLINE void run_known_radix(const Pass& pass, float* tile) {
  if (pass.stage->m == 1) return run_radix<kLanes, kRadix, false, false>(pass, tile);
  if (pass.synthesis) return run_radix<kLanes, kRadix, true, true>(pass, tile);
  run_radix<kLanes, kRadix, false, true>(pass, tile);
}

template <int kLanes>
TUNEFLEET_INLINE void run_pass_lanes(const Pass& pass, float* tile, float* scratch) {
  switch (pass.stage->radix) {
    case 2:
      return run_known_radix<kLanes, 2>(pass, tile);
    case 3:
      return run_known_radix<kLanes, 3>(pass, tile);
    case 4:
      return run_known_radix<kLanes, 4>(pass, tile);
    case 5:
      return run_known_radix<kLanes, 5>(pass, tile);
    case 8:
      return run_known_radix<kLanes, 8>(pass, tile);
    default:
      return run_any_radix<kLanes>(pass, tile, scratch);
  }
}

TUNEFLEET_FOR_LANES(run_pass, (const Pass& pass, float* tile, float* scratch),
                    (pass, tile, scratch))

/// Large radices first: they leave the small ones blocks that stay in the cache.
int64_t next_radix(int64_t n) {
  for (const int64_t radix : {8, 4, 2, 3, 5}) {
    if (n % radix == 0) return radix;
  }
  for (int64_t radix = 7; radix * radix <= n; radix += 2) {
    if (n % radix == 0) return radix;
  }
  return n;
}

void append_root(std::vector<float>& to, int64_t numerator, int64_t n) {
  const double angle =
      2.0 * std::numbers::pi * static_cast<double>(numerator % n) / static_cast<double>(n);
  to.push_back(static_cast<float>(std::cos(angle)));
  to.push_back(static_cast<float>(std::sin(angle)));
}

}  // namespace

TileFourier::TileFourier(int64_t n) : n_(n) {
  for (int64_t left = n; left > 1;) {
    Stage stage{.radix = next_radix(left), .n = left, .m = left / next_radix(left)};
    for (int64_t j = 0; j < stage.m; ++j) {
      for (int64_t k = 1; k < stage.radix; ++k) append_root(stage.twiddles, j * k, left);
    }
    for (int64_t k = 0; k < stage.radix; ++k) append_root(stage.roots, k, stage.radix);
    left = stage.m;
    stages_.push_back(std::move(stage));
  }
}

int64_t TileFourier::place(int64_t frequency) const {
  int64_t place = 0;
  for (const auto& stage : stages_) {
    place += frequency % stage.radix * stage.m;
    frequency /= stage.radix;
  }
  return place;
}

void TileFourier::run_from(size_t first, const Way& way, float* tile) const {
  if (first == stages_.size()) return;
  const Stage& stage = stages_[first];
  const auto pass = [&](const Stage& each, int64_t blocks) {
    run_pass({.stage = &each,
              .blocks = blocks,
              .real = way.real,
              .imaginary = kPairs - way.real,
              .synthesis = way.synthesis},
             tile, way.scratch);
  };
  if (stage.n <= kCachedFeatures) {
    const size_t count = stages_.size() - first;
    for (size_t i = 0; i < count; ++i) {
      const Stage& each = stages_[first + (way.synthesis ? count - 1 - i : i)];
      pass(each, stage.n / each.n);
    }
    return;
  }
  if (!way.synthesis) pass(stage, 1);
  for (int64_t k = 0; k < stage.radix; ++k) run_from(first + 1, way, tile + k * stage.m * kTile);
  if (way.synthesis) pass(stage, 1);
}

void TileFourier::analyse(float* tile, int sign) const { run(tile, sign, false); }
void TileFourier::synthesise(float* tile, int sign) const { run(tile, sign, true); }

/// With real and imaginary parts exchanged before and after, a transform is the other sign's.
void TileFourier::run(float* tile, int sign, bool synthesis) const {
  int64_t largest = 0;
  for (const auto& stage : stages_) largest = std::max(largest, stage.radix);
  std::vector<float> scratch(largest > 8 || largest == 7 ? static_cast<size_t>(largest * kTile)
                                                         : 0);
  run_from(0, {.real = sign > 0 ? 0 : kPairs, .synthesis = synthesis, .scratch = scratch.data()},
           tile);
}

}  // namespace tunefleet::tuners::loops
