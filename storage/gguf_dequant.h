#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "proto/result.h"

namespace tunefleet::storage {

/// Whether dequantize() reads that type: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K,
/// Q6_K. `type` is the number in the file.
bool can_dequantize(uint32_t type);

/// Writes the elements of whole blocks as float32, each rounded as the `gguf` Python package does
/// (scale times quant, then plus the minimum, every step rounded to float32): bit-equal to its
/// gguf.quants.dequantize. `in` needs no alignment.
/// kInvalidArgument for a type that is not read, listing those that are, and when `in` is not the
/// blocks of exactly out.size() elements. Thread-safe.
Status dequantize(uint32_t type, std::span<const std::byte> in, std::span<float> out);

}  // namespace tunefleet::storage
