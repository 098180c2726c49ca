#pragma once

#include <filesystem>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// Makes the directory, and its parents where they are missing. Only its owner may enter it (0700);
/// the mode of one that is there already stays. kPermissionDenied and the like with the system's
/// words.
Status make_private_directory(const std::filesystem::path& path);

}  // namespace tunefleet::coordinator
