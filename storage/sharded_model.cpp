#include "storage/sharded_model.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "storage/atomic_file.h"

namespace tunefleet::storage {

namespace {

namespace fs = std::filesystem;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = 64 << 20;

using WeightMap = std::map<std::string, std::string>;  // tensor -> shard

/// A shard is a file of the directory itself: an index from elsewhere must not reach out of it.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

Result<WeightMap> read_weight_map(const fs::path& index_path) {
  const auto text = read_small_file(index_path, kMaxIndexBytes);
  if (!text) return fail(text.error());
  const auto index = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  const auto bad = [&](std::string_view what) {
    return fail(ErrorCode::kDataLoss, fmt::format("index of the weights is not well-formed: {}, {}",
                                                  what, index_path.string()));
  };
  if (!index.is_object()) return bad("not a JSON object");
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) return bad("no weight_map");
  WeightMap weight_map;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_plain_file_name(shard.get<std::string>())) {
      return bad(fmt::format("not a file name for tensor {}", tensor));
    }
    weight_map[tensor] = shard.get<std::string>();
  }
  return weight_map;
}

tl::unexpected<Error> fail_no_weights(const fs::path& directory) {
  std::error_code ignored;
  if (fs::exists(directory / "pytorch_model.bin", ignored) ||
      fs::exists(directory / "pytorch_model.bin.index.json", ignored)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("pickled weights are not loaded, since loading them can run code "
                            "(save the model with safe_serialization=True): {}",
                            (directory / "pytorch_model.bin").string()));
  }
  return fail(ErrorCode::kNotFound, fmt::format("directory has no model.safetensors and no {}: {}",
                                                kIndexFile, directory.string()));
}

}  // namespace

Result<std::vector<std::string>> weight_files(const fs::path& directory) {
  std::error_code ignored;
  if (fs::exists(directory / kSingleFile, ignored)) return std::vector<std::string>{kSingleFile};
  if (!fs::exists(directory / kIndexFile, ignored)) return fail_no_weights(directory);
  const auto weight_map = read_weight_map(directory / kIndexFile);
  if (!weight_map) return fail(weight_map.error());
  std::set<std::string> names;
  for (const auto& [tensor, shard] : *weight_map) names.insert(shard);
  return std::vector<std::string>(names.begin(), names.end());
}

Result<ShardedModel> ShardedModel::open(const fs::path& directory) {
  const auto files = weight_files(directory);
  if (!files) return fail(files.error());
  ShardedModel model;
  std::map<std::string, size_t> shard_numbers;
  for (const std::string& name : *files) {
    auto shard = SafetensorsFile::open(directory / name);
    if (!shard) return fail("shard of the model", shard.error());
    shard_numbers[name] = model.shards_.size();
    model.shards_.push_back(std::move(*shard));
  }
  for (const SafetensorsFile& shard : model.shards_) {
    for (const TensorView& tensor : shard.tensors()) {
      if (!model.index_.emplace(tensor.name, &tensor).second) {
        return fail(ErrorCode::kDataLoss, fmt::format("two shards hold the same tensor: {}, {}",
                                                      tensor.name, shard.path().string()));
      }
      model.tensors_.push_back(&tensor);
    }
  }
  if (files->front() == kSingleFile && files->size() == 1) return model;

  const auto weight_map = read_weight_map(directory / kIndexFile);
  if (!weight_map) return fail(weight_map.error());
  for (const auto& [tensor, name] : *weight_map) {
    const SafetensorsFile& shard = model.shards_[shard_numbers.at(name)];
    if (shard.find(tensor) == nullptr) {
      return fail(ErrorCode::kDataLoss,
                  fmt::format("index names a tensor that its shard does not hold: {}, {}", tensor,
                              shard.path().string()));
    }
  }
  return model;
}

const TensorView* ShardedModel::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second;
}

uint64_t ShardedModel::total_bytes() const {
  uint64_t bytes = 0;
  for (const TensorView* tensor : tensors_) bytes += tensor->bytes;
  return bytes;
}

}  // namespace tunefleet::storage
