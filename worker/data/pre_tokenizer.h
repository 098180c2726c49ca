#pragma once

#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "worker/data/regex.h"

namespace tunefleet::data {

/// The "pre_tokenizer" of a byte-level tokenizer.json: cuts text into words, across which nothing
/// merges. Knows ByteLevel (last, it also turns text into bytes), Split, Digits, Punctuation,
/// WhitespaceSplit and Sequence. Safe to use from several threads.
class PreTokenizer {
 public:
  /// What happens to the matches of a split; names are the file's.
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

  /// The words of one text. They point into the text or, where a prefix space was added, into
  /// `owned`.
  struct Words {
    std::vector<std::string_view> words;
    std::deque<std::string> owned;
  };

  /// kInvalidArgument: an unknown type, or a file that is not byte-level. Throws
  /// nlohmann::json::exception when a field is missing or of another type.
  static Result<PreTokenizer> from_json(const nlohmann::json& config);

  /// Cuts `text` (valid UTF-8, not empty), replacing what `words` held. No word is empty.
  Status split(std::string_view text, Words& words) const;

 private:
  struct Split {
    Regex pattern;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
  };
  struct PrefixSpace {};
  using Step = std::variant<Split, PrefixSpace>;

  Status add(const nlohmann::json& config);
  Status add_byte_level(const nlohmann::json& config);
  Status add_split(std::string_view pattern, Behavior behavior);
  static Status run(const Split& split, std::string_view text,
                    std::vector<std::string_view>& words);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace tunefleet::data
