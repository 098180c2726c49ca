#pragma once

#include <filesystem>
#include <vector>

#include "proto/result.h"
#include "tuners/tensor_io.h"

/// adapter_model.bin: what torch.save makes of a dict of tensors. Written and read by libtorch's
/// own pickler, which makes tensors and plain values only and runs nothing that a file asks for.
namespace tunefleet::tuners {

/// Writes a file that torch.load(weights_only=True) reads as {name: tensor}. Appears complete or
/// not at all.
Status write_pickle(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors);

/// The tensors of such a file, on the CPU, in the file's order. kInvalidArgument when it holds
/// anything but named tensors; files of torch before 1.6 (not ZIP) are not read.
Result<std::vector<NamedTensor>> read_pickle(const std::filesystem::path& path);

}  // namespace tunefleet::tuners
