#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proto/result.h"
#include "worker/data/merge_table.h"

namespace tunefleet::data {

/// The "model" of a byte-level BPE tokenizer.json: turns the bytes of one word into token ids by
/// merging neighbours, the lowest rank first, the leftmost first among equals. Safe to use from
/// several threads; each keeps a small cache of words of its own. Source: Sennrich et al. 2016,
/// arXiv:1508.07909; bytes as symbols: GPT-2.
class Bpe {
 public:
  /// kInvalidArgument: not BPE, a merge of tokens that are not in the vocabulary, or an option that
  /// byte-level vocabularies do not have (byte_fallback, dropout, continuing_subword_prefix,
  /// end_of_word_suffix). Throws nlohmann::json::exception when a field is missing or of another
  /// type.
  static Result<Bpe> from_json(const nlohmann::json& config);

  /// Appends the ids of one word. A byte that has no token becomes unk_token, or nothing without
  /// one.
  void append_ids(std::string_view word, std::vector<int32_t>& ids) const;

  /// The token as the file spells it ("Ġhello"), or nothing.
  std::optional<int32_t> token_id(const std::string& spelling) const;

  /// The bytes a token stands for; nothing for an id that is not in the vocabulary.
  std::optional<std::string_view> token_bytes(int32_t id) const;

  /// The highest id and one.
  int64_t id_limit() const { return static_cast<int64_t>(tokens_.size()); }

 private:
  struct Token {
    bool known = false;
    std::string bytes;
  };

  Bpe();
  Status read_vocabulary(const nlohmann::json& vocabulary);
  Status read_merges(const nlohmann::json& merges);
  Status read_options(const nlohmann::json& config);
  void append_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  void merge(std::string_view word, std::vector<int32_t>& ids) const;

  uint64_t instance_;  ///< Tells this vocabulary's words from another's in a thread's cache.
  std::vector<Token> tokens_;
  std::unordered_map<std::string, int32_t> ids_;  ///< By the file's spelling.
  std::array<int32_t, 256> byte_ids_{};
  MergeTable merges_;
  int32_t unknown_ = -1;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace tunefleet::data
