#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "proto/result.h"
#include "storage/mapped_file.h"

/// The GGUF format of llama.cpp (ggml/docs/gguf.md): header, metadata key-values, tensor
/// descriptions, then the tensors' blocks, each at a multiple of the alignment.
namespace tunefleet::storage {

/// How a tensor's elements are stored. The file's numbers: never renumber. Types that are not
/// listed here can be in a file; then their number has no enumerator.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

/// A type's name and its blocks: `block_elements` elements take `block_bytes` bytes.
struct GgmlTypeTraits {
  std::string_view name;
  uint64_t block_elements = 0;
  uint64_t block_bytes = 0;
};

/// The traits of any type of the format, also of those that cannot be dequantised here; nothing for
/// a number that the format does not know.
std::optional<GgmlTypeTraits> ggml_type_traits(uint32_t type);

/// A metadata value. Texts point into the mapped file and are not checked to be UTF-8.
struct GgufValue {
  std::variant<uint64_t, int64_t, double, bool, std::string_view, std::vector<GgufValue>> value;

  /// The value as a number of that kind: integers of either sign where they fit, no fractions.
  std::optional<uint64_t> as_unsigned() const;
  /// Floating point or any integer.
  std::optional<double> as_double() const;
  std::optional<bool> as_bool() const;
  std::optional<std::string_view> as_text() const;
  /// Null when it is not an array.
  const std::vector<GgufValue>* as_array() const;
};

/// A tensor in the file. `shape` is row-major, as Hugging Face and torch count: GGUF's dimensions
/// in reverse, so that shape.back() is contiguous and a multiple of the type's block.
struct GgufTensor {
  std::string name;
  uint32_t type = 0;  ///< A GgmlType, or another number of the format.
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;
  size_t bytes = 0;

  int64_t elements() const;
};

/// A GGUF file, version 2 or 3, little-endian, mapped read-only. Every count and size is checked
/// against the file before it is used. Reading is thread-safe; views live as long as this object.
class GgufFile {
 public:
  static constexpr uint64_t kMaxTensors = 65'536;
  static constexpr uint64_t kMaxKeys = 65'536;
  static constexpr uint64_t kMaxArrayElements = 8 << 20;  ///< Over all arrays of the file.

  /// kDataLoss for a file that is cut short or does not follow the format; kInvalidArgument for a
  /// version, byte order or tensor type that is not read here; else as MappedFile::open().
  static Result<GgufFile> open(const std::filesystem::path& path);

  /// The metadata value of that key, or null.
  const GgufValue* find(std::string_view key) const;
  /// In the order of the file.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;
  const std::filesystem::path& path() const { return file_.path(); }
  uint32_t version() const { return version_; }
  void advise(MappedFile::Access access) const { file_.advise(access); }

 private:
  MappedFile file_;
  uint32_t version_ = 0;
  std::unordered_map<std::string_view, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace tunefleet::storage
