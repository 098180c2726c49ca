#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proto/result.h"
#include "storage/atomic_file.h"
#include "storage/dtype.h"
#include "storage/mapped_file.h"

/// The safetensors format (github.com/huggingface/safetensors): 8 bytes little-endian header size,
/// a JSON header {name: {dtype, shape, data_offsets}}, then the tensors' bytes without gaps.
namespace tunefleet::storage {

/// The `__metadata__` object of a file: free text by key.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// What a tensor is, without its bytes.
struct TensorSpec {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;  ///< Empty for a scalar; row-major.
};

/// A tensor whose bytes belong to someone else (a mapped file, a torch tensor, a vector).
struct TensorView : TensorSpec {
  const std::byte* data = nullptr;  ///< Row-major, little-endian. Aligned to the dtype in files
                                    ///< with an aligned header (every known writer's).
  size_t bytes = 0;                 ///< Elements times dtype_size().
};

/// Elements of `shape` times the dtype's size. kInvalidArgument naming the tensor for a negative
/// dimension or a product past 63 bits.
Result<uint64_t> tensor_bytes(const TensorSpec& spec);

/// A safetensors file mapped read-only, its header checked completely: sizes, types, offsets that
/// cover the data without gap or overlap, no duplicate names, UTF-8. Altered tensor bytes cannot be
/// seen by this format; checksums stand in a checkpoint's manifest. Reading is thread-safe.
class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 16 << 20;
  static constexpr size_t kMaxTensors = 65'536;

  /// kDataLoss for a file that is cut short or does not follow the format; kInvalidArgument for an
  /// element type that is not supported; else as MappedFile::open().
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  /// In the order of the data in the file. Views live as long as this object (moves included).
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// The tensor of that name, or null.
  const TensorView* find(std::string_view name) const;
  const SafetensorsMetadata& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return file_.path(); }
  /// Tells the kernel how the bytes will be read.
  void advise(MappedFile::Access access) const { file_.advise(access); }

 private:
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, size_t> index_;  ///< Name -> position in tensors_.
  SafetensorsMetadata metadata_;
};

/// Writes a safetensors file tensor by tensor, so that no model need fit into memory. The file
/// appears complete, under its name, when finish() returns; before that it is not there.
class SafetensorsWriter {
 public:
  /// Starts the file for these tensors, which it sorts as the reference library does (dtype, then
  /// name): for at most one metadata key the file is byte for byte that of
  /// safetensors.torch.save_file. kInvalidArgument for duplicate names or bad shapes.
  static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                          std::vector<TensorSpec> tensors,
                                          const SafetensorsMetadata& metadata);

  /// The order in which append() wants the bytes.
  const std::vector<TensorSpec>& order() const { return order_; }
  /// Appends bytes of the tensors in order(); a tensor may come in pieces.
  Status append(std::span<const std::byte> bytes);
  /// Commits. kInternal when more or fewer bytes came than the header promises.
  Status finish();

 private:
  SafetensorsWriter(AtomicFile file, std::vector<TensorSpec> order, uint64_t data_bytes)
      : file_(std::move(file)), order_(std::move(order)), missing_bytes_(data_bytes) {}

  AtomicFile file_;
  std::vector<TensorSpec> order_;
  uint64_t missing_bytes_;
};

/// SafetensorsWriter for tensors that are in memory. kInvalidArgument when a view's size is not
/// that of its shape.
Status write_safetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors,
                         const SafetensorsMetadata& metadata);

}  // namespace tunefleet::storage
