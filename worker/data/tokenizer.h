#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace tunefleet::data {

/// A part of a text that is encoded as a whole. Special tokens are recognised only in parts that
/// are `special`, so that what a user wrote cannot pretend to be a template's marks.
struct TextPart {
  std::string_view text;
  bool special = true;
};

/// A byte-level BPE tokenizer read from a Hugging Face tokenizer.json: text to token ids and back,
/// the same ids as the `tokenizers` package gives. Immutable; copies share the tables; safe from
/// several threads.
class Tokenizer {
 public:
  /// Reads `path`, a tokenizer.json or a directory that holds one. kNotFound: no such file.
  /// kInvalidArgument: malformed, or a kind of tokenizer that is not supported (the message says
  /// which part).
  static Result<Tokenizer> load(const std::filesystem::path& path);

  /// The same from the file's text; `name` stands for the file in messages.
  static Result<Tokenizer> parse(std::string_view json_text, std::string_view name);

  /// Ids of `text`. With `add_special_tokens` the file's post_processor adds its own (a
  /// begin-of-text token). kInvalidArgument: not UTF-8 (the message names the byte offset).
  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special_tokens = false) const;

  /// Ids of the parts' texts joined. Where a part begins or ends makes no difference to the ids,
  /// only whether special tokens are recognised in it.
  Result<std::vector<int32_t>> encode_parts(std::span<const TextPart> parts) const;

  /// What encode() puts before a text with add_special_tokens: a begin-of-text token, or nothing.
  const std::vector<int32_t>& prefix_ids() const;

  /// Text of `ids`; what is not valid UTF-8 becomes U+FFFD. Ids past the vocabulary stand for
  /// nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  /// The bytes of one token, maybe a part of a character; empty for an unknown id.
  std::string_view token_bytes(int32_t id) const;

  /// Id of a token as the file spells it ("<|im_end|>", "Ġhello").
  std::optional<int32_t> token_id(std::string_view name) const;

  bool is_special(int32_t id) const;

  /// The highest id and one: rows that an embedding needs at least.
  int64_t vocab_size() const;

 private:
  struct Tables;
  explicit Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}

  std::shared_ptr<const Tables> tables_;
};

/// Turns a stream of ids into text as they come, holding back the bytes of a character that is not
/// complete yet. All pieces joined are decode() of all ids.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special_tokens = true)
      : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

  /// The text that `id` completes; often empty inside a character of several tokens.
  std::string push(int32_t id);

  /// What is left at the end, as U+FFFD.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;
};

}  // namespace tunefleet::data
