#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {

inline constexpr std::string_view kPickledWeightsFile = "adapter_model.bin";

/// The two forms of an adapter's weights: adapter_model.safetensors, adapter_model.bin.
enum class WeightsForm { kSafetensors, kPickle };

/// The weights in an adapter's folder: adapter_model.safetensors or, without one,
/// adapter_model.bin.
class AdapterWeights {
 public:
  /// kNotFound when there is neither; kInvalidArgument and kDataLoss naming the file for one that
  /// is damaged.
  static Result<AdapterWeights> open(const std::filesystem::path& directory);

  const std::filesystem::path& path() const { return path_; }
  /// **Read only**: they may lie on the mapped file.
  const std::vector<NamedTensor>& tensors() const { return tensors_; }
  /// Of safetensors; empty for a pickle.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::filesystem::path path_;
  std::vector<NamedTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Writes the weights into `directory` in one form and removes those of the other, so that a folder
/// never holds two answers. `metadata` goes into safetensors only.
Status write_weights(const std::filesystem::path& directory,
                     const std::vector<NamedTensor>& tensors, WeightsForm form,
                     const std::map<std::string, std::string>& metadata);

}  // namespace tunefleet::tuners
