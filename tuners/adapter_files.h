#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/adapter_weights.h"
#include "tuners/config/stored_adapter.h"
#include "tuners/swift_model.h"

/// What ms-swift's and PEFT's adapter folders have in common: adapter_config.json beside
/// adapter_model.safetensors. The layouts differ in where the folders stand and in how tensors are
/// named: see swift_files.h and peft_files.h.
namespace tunefleet::tuners {

/// A key of either layout without prefix and adapter name:
///   base_model.model.m.lora_A.weight, m.lora_A.<name>.weight, m.modules_to_save.<name>.weight ->
///   m.lora_A.weight, m.weight
std::string plain_key(std::string_view key, const std::string& adapter_name);

/// The key of a tensor in a file that was saved under `adapter_name`.
std::string file_key(const AdapterTensor& tensor, FileLayout layout,
                     const std::string& adapter_name);

/// Sets every saved tensor of `adapter` from the folder's weights, converting dtypes (half values
/// become the adapter's own dtype, float32 unless lora_dtype says otherwise, as in PEFT).
/// kInvalidArgument, naming tensor and file, for a missing or an unexpected tensor, a wrong shape
/// (both are told) and values that are not finite. A copy of a base weight, as PEFT adds for
/// embeddings, must equal the base's. On an error the adapter's values are undefined.
Status load_weights(Adapter& adapter, const StoredAdapter& stored, BaseModel& base);

/// The adapter's tensors under the keys of that layout. In ms-swift's, a tuner that only PEFT has
/// keeps PEFT's keys.
std::vector<NamedTensor> file_tensors(const Adapter& adapter, FileLayout layout);

/// Writes the weights (safetensors with metadata {"format": "pt"}, or a pickle) and
/// adapter_config.json into `directory`, which is made. Each file appears complete or not at all,
/// the configuration last.
/// `layers`: of a model that another adapter has put layers into, their number, as the metadata
/// "num_hidden_layers"; 0: nothing is said of them. Without tensors there is only the
/// configuration, as with ms-swift.
Status write_adapter_folder(const std::filesystem::path& directory,
                            const std::vector<NamedTensor>& tensors, const std::string& config_text,
                            int64_t layers = 0, WeightsForm form = WeightsForm::kSafetensors);

/// That number; 0 when the file says nothing or there is none.
int64_t stored_layers(const StoredAdapter& stored);

/// Writes an adapter of a model into `directory`. kNotFound.
Status write_adapter(const SwiftModel& model, const Adapter& adapter, FileLayout layout,
                     const std::filesystem::path& directory,
                     WeightsForm form = WeightsForm::kSafetensors);

/// Makes a directory and its parents.
Status make_directory(const std::filesystem::path& directory);

}  // namespace tunefleet::tuners
