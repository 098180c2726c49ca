#pragma once

#include <cstdint>

/// One group of quantised numbers (group_quantization.h) on plain memory: what a float32 tensor in
/// main memory is rounded and read with. No torch here, so that it is compiled with flags of its
/// own.
namespace tunefleet::tuners::loops {

/// x[i] ~ (code[i] - zero) * scale, to the nearest code of 0 .. top. Writes `count` codes, the
/// scale and the zero; count >= 1.
void quantize_nearest(const float* x, int64_t count, float top, uint8_t* codes, float* scale,
                      uint8_t* zero);
/// The same, rounded up where draws[i], uniform in [0, 1), is below the part cut off.
void quantize_drawn(const float* x, const float* draws, int64_t count, float top, uint8_t* codes,
                    float* scale, uint8_t* zero);
/// x[i] = (code[i] - zero) * scale.
void dequantize(const uint8_t* codes, int64_t count, float scale, float zero, float* x);

/// Uniform in [0, 1): numbers 2 * pair, 2 * pair + 1, … of the key's sequence, whose number i has
/// 24 bits of the hash of (key, i / 2). Writes 2 * pairs numbers.
void uniform_draws(uint64_t key, int64_t pair, int64_t pairs, float* draws);

}  // namespace tunefleet::tuners::loops
