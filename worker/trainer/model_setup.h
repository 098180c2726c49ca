#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/full_options.h"
#include "tuners/swift_model.h"
#include "worker/models/decoder.h"

namespace tunefleet::trainer {

/// The base model in `directory` on the chosen device. A .gguf file is refused with the command
/// that imports it.
Result<std::unique_ptr<models::Decoder>> load_base(const std::filesystem::path& directory,
                                                   const std::string& dtype,
                                                   const std::string& device, int local_rank);

/// The adapters in `directory` on the model, for inference: a checkpoint of ours (after full tuning
/// too), a Swift or a PEFT folder. Without adapters when `directory` is empty.
Result<std::unique_ptr<tuners::SwiftModel>> attach_adapters(models::Decoder& model,
                                                            const std::string& directory);

/// Puts the adapters in `directory` on a model that may have others, and activates them. Their
/// names on the model, which are returned, are `prefix` and the stored name. On an error nothing
/// has been added.
Result<std::vector<std::string>> add_adapters(tuners::SwiftModel& swift,
                                              const std::filesystem::path& directory,
                                              const std::string& prefix);

/// Full tuning on the model, as its adapter `name`: with the values of the checkpoint `values` if
/// there is one, else with the base's.
Status attach_full(tuners::SwiftModel& swift, const tuners::FullOptions& options,
                   const std::optional<std::filesystem::path>& values, bool trainable,
                   const std::string& name = "default");

}  // namespace tunefleet::trainer
