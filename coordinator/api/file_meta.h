#pragma once

#include <filesystem>

#include "coordinator/api/file_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Writes <folder>/meta.json, whole or not at all.
Status write_meta(const std::filesystem::path& folder, const StoredFile& file);
/// kNotFound without the file; kDataLoss for one that is not ours or names another folder.
Result<StoredFile> read_meta(const std::filesystem::path& folder);

}  // namespace tunefleet::coordinator
