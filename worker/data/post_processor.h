#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "proto/result.h"

namespace tunefleet::data {

/// The "post_processor" of a tokenizer.json for one sequence: which ids stand before and after the
/// text's. Knows TemplateProcessing, ByteLevel (adds none) and Sequence.
struct PostProcessor {
  std::vector<int32_t> before;
  std::vector<int32_t> after;

  /// kInvalidArgument: an unknown type, or a template that repeats the text. Throws
  /// nlohmann::json::exception when a field is missing or of another type.
  static Result<PostProcessor> from_json(const nlohmann::json& config);
};

}  // namespace tunefleet::data
