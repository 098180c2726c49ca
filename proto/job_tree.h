#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace tunefleet {

/// A job as it was written, before any key is looked at: the same for YAML, JSON text and JSON
/// values.
struct JobNode {
  enum class Kind { kNull, kBool, kNumber, kText, kList, kMap };
  Kind kind = Kind::kNull;
  std::string key;  ///< Under which it stands in its map; empty elsewhere.
  std::string
      text;  ///< A scalar as written. Every YAML scalar is kText: the field decides what it is.
  std::vector<JobNode> children;  ///< Of a list, or of a map in its order, with duplicates.
  int line = 0;                   ///< From 1; 0 when not from a text.
  bool plain = false;  ///< YAML text without quotes: may stand for a number or a boolean.
};

/// "text `abc`", "a list of 3 values", …: what a reader that expected something else got.
std::string describe(const JobNode& node);

/// Why a text could not be read at all.
struct TreeError {
  int line = 0;
  std::string message;
};

using TreeResult = tl::expected<JobNode, TreeError>;

/// Text that is longer, or nested deeper, is refused before it can cost memory.
inline constexpr size_t kLongestJobText = size_t{1} << 20;
inline constexpr size_t kDeepestJob = 16;

TreeResult read_yaml_tree(std::string_view text);
TreeResult read_json_tree(std::string_view text);
TreeResult tree_of_json(const nlohmann::json& value);

/// The value back again. Plain text that is a number, true or false becomes that.
nlohmann::json json_of_tree(const JobNode& node);

}  // namespace tunefleet
