#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/data/normalizer.h"

namespace tunefleet::data {

/// A token that is found in the text as a whole, before anything is split; fields are the file's.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      ///< Left out when decoding with skip_special_tokens.
  bool single_word = false;  ///< Only where no word character touches it.
  bool lstrip = false;       ///< Takes the white space before it along.
  bool rstrip = false;       ///< Takes the white space after it along.
  bool normalized = true;    ///< Looked for in the normalized text instead of the original.
};

/// A part of a text: a token, or text that is still to be split (id < 0).
struct Fragment {
  int32_t id = -1;
  TextRange range;
};

/// Finds the added tokens of one kind in a text: leftmost first, of those that begin together the
/// longest.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher();

  /// `content` is what to look for: the token's, normalized where the token says so.
  void add(const AddedToken& token, std::string_view content);

  bool empty() const { return tokens_.empty(); }

  /// Cuts `text` into fragments that together are the text (less what was stripped beside tokens).
  /// Special tokens that begin inside one of the `literal` ranges (sorted, disjoint) are plain
  /// text.
  std::vector<Fragment> split(std::string_view text, std::span<const TextRange> literal) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> children;  ///< Byte and node.
    int32_t token = -1;                                       ///< Index into tokens_.
  };
  struct Match {
    int32_t token = -1;
    size_t end = 0;
  };

  int32_t child(int32_t node, unsigned char byte) const;
  size_t next_candidate(std::string_view text, size_t from) const;
  Match longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> starts_{};
};

/// Reads the "added_tokens" of a tokenizer.json. Throws nlohmann::json::exception on a wrong field.
std::vector<AddedToken> added_tokens_from_json(const nlohmann::json& config);

}  // namespace tunefleet::data
