#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/dataset_rows.h"
#include "proto/result.h"
#include "worker/data/chat_template.h"
#include "worker/data/encoded_dataset.h"
#include "worker/data/tokenizer.h"

namespace tunefleet::data {

/// What becomes of an example longer than max_length.
enum class Truncation {
  kDelete,  ///< It is left out.
  kLeft,    ///< Its first tokens are cut off.
  kRight,   ///< Its last tokens are cut off.
  kSplit,   ///< It becomes several examples.
};

/// "delete", "left", "right" or "split"; kInvalidArgument otherwise.
Result<Truncation> truncation_named(std::string_view name);

struct EncodeOptions {
  std::optional<std::string>
      system;              ///< For conversations without a system turn; wins over the template's.
  int64_t max_length = 0;  ///< In tokens; 0: no bound.
  Truncation truncation = Truncation::kDelete;
  int64_t threads = 0;  ///< 0: as many as the machine has.
  /// Ids that the model has rows for; 0: those the tokenizer has. Embeddings are often padded.
  int64_t vocab_size = 0;
  /// Rows are preferences: each becomes two examples, what is chosen and what is rejected.
  bool preferences = false;
};

/// What was left out or shortened: no row goes missing without being counted here.
struct EncodeReport {
  int64_t rows = 0;       ///< Read.
  int64_t examples = 0;   ///< Made of them; of preferences, pairs.
  int64_t too_long = 0;   ///< Rows left out for their length.
  int64_t shortened = 0;  ///< Rows cut or split.
  int64_t no_answer = 0;  ///< Examples left out, since nothing that is learnt was left in them.

  EncodeReport& operator+=(const EncodeReport& other);
  /// "1000 rows, 998 examples, 2 left out as longer than 512 tokens (truncation_strategy: delete)".
  std::string text(const EncodeOptions& options) const;
};

/// Turns rows into token ids and labels. Only what assistants say is learnt, with the mark that
/// ends it; what stands behind the last learnt token is left out. The first label is always
/// kIgnoreLabel: nothing predicts the first token. Safe from several threads.
class RowEncoder {
 public:
  /// Without a template only pretokenised rows can be encoded.
  RowEncoder(Tokenizer tokenizer, std::optional<ChatTemplate> chat_template, EncodeOptions options);

  /// Appends the examples of one row. kInvalidArgument: a role the template does not have, a token
  /// id past the vocabulary, or a row of the other kind than `preferences` says.
  Result<EncodeReport> encode(const DatasetRow& row, EncodedDataset& examples) const;

  /// A conversation as the model sees it before it answers, or (without a generation prompt) all of
  /// it.
  Result<Sample> encode_conversation(std::span<const Message> messages,
                                     bool add_generation_prompt) const;

  const EncodeOptions& options() const { return options_; }

 private:
  Result<EncodeReport> encode_supervised(const DatasetRow& row, EncodedDataset& examples) const;
  /// Both answers of a row, or neither: one that is left out takes the other along. Each answer is
  /// cut by itself.
  Result<EncodeReport> encode_pair(const DatasetRow& row, EncodedDataset& examples) const;
  Result<Sample> encode_row(const DatasetRow& row) const;
  Status append_segments(std::span<const Segment> segments, Sample& sample) const;

  Tokenizer tokenizer_;
  std::optional<ChatTemplate> template_;
  EncodeOptions options_;
};

struct EncodedRows {
  EncodedDataset examples;
  EncodeReport report;
};

/// Encodes rows on several threads; the examples are in the rows' order, whatever the number of
/// threads. Of several errors the first row's is told, as "<file>:<line>: reason".
Result<EncodedRows> encode_rows(std::span<const DatasetRow> rows, const RowEncoder& encoder,
                                std::string_view file);

}  // namespace tunefleet::data
