#include "storage/gguf_dequant.h"

#include <fmt/format.h>

#include <cstring>

#include "storage/gguf.h"
#include "storage/half_float.h"

// Compiled with -ffp-contract=off: a fused multiply-add would round once where ggml rounds twice.
namespace tunefleet::storage {

namespace {

/// Turns one block of bytes into its elements. Layouts: ggml's block_* structures.
using BlockFunction = void (*)(const uint8_t* block, float* out);

uint16_t load_u16(const uint8_t* bytes) {
  uint16_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint32_t load_u32(const uint8_t* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float load_half(const uint8_t* bytes) { return float_from_half(load_u16(bytes)); }

void block_f32(const uint8_t* block, float* out) { std::memcpy(out, block, sizeof *out); }
void block_f16(const uint8_t* block, float* out) { *out = load_half(block); }
void block_bf16(const uint8_t* block, float* out) { *out = float_from_bfloat16(load_u16(block)); }

/// d (half), 32 signed bytes.
void block_q8_0(const uint8_t* block, float* out) {
  const float d = load_half(block);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

/// d (half), 16 bytes: element i in the low, i + 16 in the high half-byte.
void block_q4_0(const uint8_t* block, float* out) {
  const float d = load_half(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block[2 + i] & 0x0F) - 8);
    out[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}

/// d, m (half), 16 bytes as in Q4_0.
void block_q4_1(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const float m = load_half(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(block[4 + i] & 0x0F) + m;
    out[i + 16] = d * static_cast<float>(block[4 + i] >> 4) + m;
  }
}

/// The fifth bits stand in a word of 32, the low four as in Q4_0.
int five_bits(uint32_t high_bits, const uint8_t* low, int element) {
  const int low_bits = element < 16 ? low[element] & 0x0F : low[element - 16] >> 4;
  return low_bits | static_cast<int>(((high_bits >> element) & 1u) << 4);
}

/// d (half), 32 high bits, 16 bytes.
void block_q5_0(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const uint32_t high = load_u32(block + 2);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(high, block + 6, i) - 16);
}

/// d, m (half), 32 high bits, 16 bytes.
void block_q5_1(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const float m = load_half(block + 2);
  const uint32_t high = load_u32(block + 4);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(high, block + 8, i)) + m;
}

/// Scale and minimum of sub-block j of 8, six bits each, packed into 12 bytes.
struct ScaleMin {
  float scale;
  float min;
};
ScaleMin scale_min(const uint8_t* packed, int j) {
  if (j < 4) {
    return {static_cast<float>(packed[j] & 0x3F), static_cast<float>(packed[j + 4] & 0x3F)};
  }
  const int scale = (packed[j + 4] & 0x0F) | ((packed[j - 4] >> 2) & 0x30);
  const int min = (packed[j + 4] >> 4) | ((packed[j] >> 2) & 0x30);
  return {static_cast<float>(scale), static_cast<float>(min)};
}

/// d, dmin (half), 12 bytes of scales, 128 bytes: sub-blocks 2k and 2k+1 share 32 bytes.
void block_q4_k(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const float dmin = load_half(block + 2);
  for (int j = 0; j < 8; ++j) {
    const ScaleMin sub = scale_min(block + 4, j);
    const float scale = d * sub.scale;
    const float min = dmin * sub.min;
    const uint8_t* quants = block + 16 + 32 * (j / 2);
    for (int i = 0; i < 32; ++i) {
      const int q = j % 2 == 0 ? quants[i] & 0x0F : quants[i] >> 4;
      out[32 * j + i] = scale * static_cast<float>(q) - min;
    }
  }
}

/// As Q4_K with 32 bytes of fifth bits between: bit j of byte i belongs to sub-block j.
void block_q5_k(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const float dmin = load_half(block + 2);
  const uint8_t* high = block + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleMin sub = scale_min(block + 4, j);
    const float scale = d * sub.scale;
    const float min = dmin * sub.min;
    const uint8_t* quants = block + 48 + 32 * (j / 2);
    for (int i = 0; i < 32; ++i) {
      const int low_bits = j % 2 == 0 ? quants[i] & 0x0F : quants[i] >> 4;
      const int q = low_bits | (((high[i] >> j) & 1) << 4);
      out[32 * j + i] = scale * static_cast<float>(q) - min;
    }
  }
}

/// 128 bytes of low four bits, 64 of high two, 16 signed scales, d (half): 8 groups of 32.
void block_q6_k(const uint8_t* block, float* out) {
  const uint8_t* low = block;
  const uint8_t* high = block + 128;
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
  const float d = load_half(block + 208);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* low_bytes = low + 64 * (group / 4) + 32 * (group % 2);
    const uint8_t* high_bytes = high + 32 * (group / 4);
    for (int i = 0; i < 32; ++i) {
      const int low_bits = group % 4 < 2 ? low_bytes[i] & 0x0F : low_bytes[i] >> 4;
      const int high_bits = (high_bytes[i] >> (2 * (group % 4))) & 0x03;
      const float scale = d * static_cast<float>(scales[2 * group + i / 16]);
      out[32 * group + i] = scale * static_cast<float>((low_bits | (high_bits << 4)) - 32);
    }
  }
}

BlockFunction block_function(uint32_t type) {
  switch (static_cast<GgmlType>(type)) {
    case GgmlType::kF32:
      return block_f32;
    case GgmlType::kF16:
      return block_f16;
    case GgmlType::kBF16:
      return block_bf16;
    case GgmlType::kQ8_0:
      return block_q8_0;
    case GgmlType::kQ4_0:
      return block_q4_0;
    case GgmlType::kQ4_1:
      return block_q4_1;
    case GgmlType::kQ5_0:
      return block_q5_0;
    case GgmlType::kQ5_1:
      return block_q5_1;
    case GgmlType::kQ4_K:
      return block_q4_k;
    case GgmlType::kQ5_K:
      return block_q5_k;
    case GgmlType::kQ6_K:
      return block_q6_k;
  }
  return nullptr;
}

}  // namespace

bool can_dequantize(uint32_t type) { return block_function(type) != nullptr; }

Status dequantize(uint32_t type, std::span<const std::byte> in, std::span<float> out) {
  const BlockFunction function = block_function(type);
  const auto traits = ggml_type_traits(type);
  if (function == nullptr || !traits) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("GGUF tensor type is not supported (F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
                            "Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are): {}",
                            traits ? std::string(traits->name) : std::to_string(type)));
  }
  const size_t blocks = out.size() / traits->block_elements;
  if (out.size() % traits->block_elements != 0 || in.size() != blocks * traits->block_bytes) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("bytes are not the blocks of that many elements: {} bytes, {} elements, {}",
                    in.size(), out.size(), traits->name));
  }
  const auto* block = reinterpret_cast<const uint8_t*>(in.data());
  for (size_t i = 0; i < blocks; ++i) {
    function(block + i * traits->block_bytes, out.data() + i * traits->block_elements);
  }
  return {};
}

}  // namespace tunefleet::storage
