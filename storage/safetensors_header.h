#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "storage/safetensors.h"

namespace tunefleet::storage {

/// One tensor as the header states it; not yet checked against the file.
struct HeaderTensor {
  TensorSpec spec;
  uint64_t begin = 0;  ///< First byte, counted from the end of the header.
  uint64_t end = 0;    ///< One past the last byte.
};

struct SafetensorsHeader {
  std::vector<HeaderTensor> tensors;  ///< In the order of the JSON text.
  SafetensorsMetadata metadata;
};

/// Parses the JSON header: strict about keys, types, nesting, duplicates and UTF-8, which the usual
/// JSON reader is not (it lets the last of two equal keys win). `file` is for messages only.
/// kDataLoss for what is not the format, kInvalidArgument for an unsupported dtype.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, std::string_view file);

/// The JSON header for these tensors, laid out one after the other, padded with spaces so that the
/// data begins at a multiple of 8. `order` must be sorted as it is to be written.
Result<std::string> make_safetensors_header(const std::vector<TensorSpec>& order,
                                            const SafetensorsMetadata& metadata);

}  // namespace tunefleet::storage
