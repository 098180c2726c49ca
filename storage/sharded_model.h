#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proto/result.h"
#include "storage/safetensors.h"

namespace tunefleet::storage {

/// The weights of a Hugging Face directory: `model.safetensors`, or the shards named by
/// `model.safetensors.index.json` ({"weight_map": {tensor: file}}). All files are mapped and their
/// headers checked when it opens. Reading is thread-safe.
class ShardedModel {
 public:
  /// kNotFound when neither file is there or a shard is missing; kDataLoss when the index names a
  /// tensor that its shard does not hold, when an index is not well-formed, or a shard is damaged.
  /// Pickled weights (pytorch_model.bin) are refused by name: loading them runs code.
  static Result<ShardedModel> open(const std::filesystem::path& directory);

  /// The tensor of that name, or null. Valid as long as this object.
  const TensorView* find(std::string_view name) const;
  /// All tensors: shard by shard, in the order of the data in each.
  const std::vector<const TensorView*>& tensors() const { return tensors_; }
  /// The files, sorted by name.
  const std::vector<SafetensorsFile>& shards() const { return shards_; }
  /// Sum of the tensors' sizes.
  uint64_t total_bytes() const;

 private:
  std::vector<SafetensorsFile> shards_;
  std::vector<const TensorView*> tensors_;
  std::unordered_map<std::string_view, const TensorView*> index_;  ///< Keys live in the shards.
};

/// The weight files of a Hugging Face directory, relative to it, sorted; errors as
/// ShardedModel::open(), but no weight file is opened.
Result<std::vector<std::string>> weight_files(const std::filesystem::path& directory);

}  // namespace tunefleet::storage
