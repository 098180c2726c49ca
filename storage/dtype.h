#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tunefleet::storage {

/// The element types of safetensors files. Enumerators stand in the order in which the reference
/// library writes tensors (I64 first), so that sorting by Dtype gives its file order.
enum class Dtype : uint8_t { kI64, kF64, kF32, kI32, kBF16, kF16, kI16, kI8, kU8, kBool };

namespace detail {
struct DtypeEntry {
  std::string_view name;  ///< As safetensors spells it.
  size_t bytes;           ///< Size of one element.
};
inline constexpr std::array<DtypeEntry, 10> kDtypes{{{"I64", 8},
                                                     {"F64", 8},
                                                     {"F32", 4},
                                                     {"I32", 4},
                                                     {"BF16", 2},
                                                     {"F16", 2},
                                                     {"I16", 2},
                                                     {"I8", 1},
                                                     {"U8", 1},
                                                     {"BOOL", 1}}};
}  // namespace detail

/// The name in a safetensors header: "F32", "BF16", …
constexpr std::string_view dtype_name(Dtype dtype) {
  return detail::kDtypes[static_cast<size_t>(dtype)].name;
}

/// Bytes of one element.
constexpr size_t dtype_size(Dtype dtype) {
  return detail::kDtypes[static_cast<size_t>(dtype)].bytes;
}

/// The dtype of a safetensors name; nothing for a name that is not in the list above.
constexpr std::optional<Dtype> dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < detail::kDtypes.size(); ++i) {
    if (detail::kDtypes[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

}  // namespace tunefleet::storage
