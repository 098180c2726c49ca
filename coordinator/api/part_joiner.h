#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/api/file_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Writes the content of `parts`, in that order, into `file`, holding 1 MiB at a time. Returns the
/// MD5 of it all in lower-case hexadecimal: the digest clients may ask to have checked, no more
/// than a check for accidents.
Result<std::string> join_parts(const std::vector<std::filesystem::path>& parts, FileUpload& file);

}  // namespace tunefleet::coordinator
