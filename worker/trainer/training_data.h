#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "worker/data/batch.h"
#include "worker/data/encoded_dataset.h"
#include "worker/models/model_config.h"
#include "worker/models/token_batch.h"

namespace tunefleet::trainer {

/// What a run trains and evaluates on, the same on every rank. A row is one example, with packing a
/// pack of them, or of preferences a pair: the chosen answer and then the rejected one.
struct TrainingData {
  data::EncodedDataset train;
  data::EncodedDataset eval;
  std::vector<std::vector<int64_t>> packs;  ///< Empty without packing.
  int64_t examples_per_row = 1;             ///< Without packing; 2 of preferences.
  std::vector<std::string> notes;           ///< For people: what was read, left out, shortened.

  int64_t rows() const {
    return packs.empty() ? train.size() / examples_per_row : static_cast<int64_t>(packs.size());
  }
  int64_t eval_rows() const { return eval.size() / examples_per_row; }
  /// Labelled tokens of training rows.
  int64_t labelled_tokens(const std::vector<int64_t>& rows) const;
  /// The training rows as a batch.
  data::Batch batch(const std::vector<int64_t>& rows) const;
  /// Rows of `eval` as a batch.
  data::Batch eval_batch(const std::vector<int64_t>& rows) const;
  /// The training rows' examples.
  std::vector<int64_t> examples_of(const std::vector<int64_t>& rows) const;
};

/// Reads, encodes, splits and packs what the job names. Errors are the data room's, with file and
/// line.
Result<TrainingData> load_training_data(const JobSpec& spec, const std::filesystem::path& model,
                                        const models::ModelConfig& config);

/// Tokens of one example that are predicted and learnt.
int64_t labelled_tokens_of(const data::EncodedDataset& examples, int64_t index);

/// A batch as the model takes it.
models::TokenBatch token_batch(const data::Batch& batch);

/// Names each token for random draws: (row id << 32) + place in the row, int64.
std::vector<int64_t> token_keys(const data::Batch& batch);

}  // namespace tunefleet::trainer
