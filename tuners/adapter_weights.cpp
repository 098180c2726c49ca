#include "tuners/adapter_weights.h"

#include <memory>
#include <system_error>

#include "storage/safetensors.h"
#include "tuners/config/adapter_config.h"
#include "tuners/pickle_file.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {

namespace fs = std::filesystem;

Result<AdapterWeights> AdapterWeights::open(const fs::path& directory) {
  AdapterWeights weights;
  std::error_code ignored;
  const fs::path pickled = directory / kPickledWeightsFile;
  weights.path_ = directory / kAdapterWeightsFile;
  if (!fs::exists(weights.path_, ignored) && fs::exists(pickled, ignored)) {
    weights.path_ = pickled;
    auto tensors = read_pickle(pickled);
    if (!tensors) return fail(tensors.error());
    weights.tensors_ = *std::move(tensors);
    return weights;
  }
  auto opened = storage::SafetensorsFile::open(weights.path_);
  if (!opened) return fail(opened.error());
  const auto file = std::make_shared<storage::SafetensorsFile>(*std::move(opened));
  for (const auto& view : file->tensors())
    weights.tensors_.push_back({.key = view.name, .tensor = map_tensor(view, file)});
  weights.metadata_ = {file->metadata().begin(), file->metadata().end()};
  return weights;
}

Status write_weights(const fs::path& directory, const std::vector<NamedTensor>& tensors,
                     WeightsForm form, const std::map<std::string, std::string>& metadata) {
  const bool pickle = form == WeightsForm::kPickle;
  const fs::path path = directory / (pickle ? kPickledWeightsFile : kAdapterWeightsFile);
  std::vector<NamedTensor> held;
  for (const auto& [key, tensor] : tensors)
    held.push_back({.key = key, .tensor = tensor.detach().cpu().contiguous()});
  Status status{};
  if (pickle) {
    status = write_pickle(path, held);
  } else {
    std::vector<storage::TensorView> views;
    for (const auto& [key, tensor] : held) views.push_back(view_of(key, tensor));
    status = storage::write_safetensors(path, views, {metadata.begin(), metadata.end()});
  }
  if (!status) return status;
  std::error_code ignored;
  fs::remove(directory / (pickle ? kAdapterWeightsFile : kPickledWeightsFile), ignored);
  return {};
}

}  // namespace tunefleet::tuners
