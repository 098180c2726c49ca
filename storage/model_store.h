#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

/// The models directory: one sub-folder for each base model, named as jobs name it.
namespace tunefleet::storage {

/// A base model of the models directory.
struct ModelEntry {
  std::string name;
  std::filesystem::path path;
  uint64_t weight_bytes = 0;  ///< Size of its weight files.
  std::string architecture;   ///< First of config.json's `architectures`; empty when unknown.
  int64_t modified_ms = 0;    ///< Of config.json, since 1970.
};

/// The models of the directory by name: sub-folders with config.json and safetensors weights.
/// Others are passed over; a missing directory has no models. Errors as fail_os().
Result<std::vector<ModelEntry>> list_models(const std::filesystem::path& models_directory);

/// Which spellings of a model are accepted.
enum class ModelPaths {
  kNamesOnly,     ///< Names in the models directory; for what comes from other people.
  kPathsAllowed,  ///< Also a path to a Hugging Face directory or a .gguf file; for local users.
};

/// The absolute path of a model. A name is one folder of the models directory: letters, digits and
/// "._-", not beginning with a dot, so that no name leads out of it (kInvalidArgument otherwise). A
/// text with a slash is a path. kNotFound lists the nearest or the available names.
Result<std::filesystem::path> resolve_model(const std::filesystem::path& models_directory,
                                            std::string_view name_or_path, ModelPaths paths);

/// The model's identity: SHA-256 over config.json and the weight files (names, sizes, content).
/// Kept in `.digest.json` beside them with each file's size and modification time, so that
/// unchanged files are not read again; a directory that cannot be written is digested each time.
/// Errors as weight_files() and sha256_file().
Result<std::string> model_digest(const std::filesystem::path& model);

}  // namespace tunefleet::storage
