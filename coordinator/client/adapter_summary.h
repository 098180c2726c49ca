#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/stored_adapter.h"

namespace tunefleet::coordinator {

/// An adapter from its files alone: {name, directory, tuner, peft_type, swift_type, layout,
/// base_model, weights_file, bytes, numbers, trainable_numbers, set_options, options, warnings,
/// tensors [{key, dtype, shape}]}. `set_options` are those of `options` that differ from the
/// tuner's defaults. Null: weights_file when there is none; numbers and tensors of pickled weights,
/// which are not opened here. Errors: find_tuner_schema, read_options, SafetensorsFile::open.
Result<nlohmann::json> adapter_json(const tuners::StoredAdapter& stored);

/// The adapters in a directory or, when it has none itself, in each of its folders (a run's
/// checkpoints), by name. kNotFound when there is none.
Result<std::vector<tuners::StoredAdapter>> find_adapters(const std::filesystem::path& directory);

}  // namespace tunefleet::coordinator
