#include "worker/trainer/training_data.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "worker/data/chat_template.h"
#include "worker/data/dataset.h"
#include "worker/data/encode.h"
#include "worker/data/packing.h"
#include "worker/data/tokenizer.h"

namespace tunefleet::trainer {
namespace {

Result<data::RowEncoder> make_encoder(const JobSpec& spec, const std::filesystem::path& model,
                                      const models::ModelConfig& config) {
  auto tokenizer = data::Tokenizer::load(model);
  if (!tokenizer) return fail(tokenizer.error());
  const auto source = data::TemplateSource::read(model);
  if (!source) return fail(source.error());
  auto chat = data::ChatTemplate::choose(spec.template_, *source);
  // A model without a known chat template can still train on token ids; rows of text then name the
  // problem.
  if (!chat && spec.template_) return fail(chat.error());
  data::EncodeOptions options;
  options.system = spec.system;
  options.vocab_size = config.vocab_size;
  options.max_length = spec.max_length.value_or(config.max_position_embeddings);
  if (spec.packing)
    options.max_length =
        std::min(options.max_length, spec.packing_length.value_or(options.max_length));
  const auto truncation = data::truncation_named(spec.truncation_strategy);
  if (!truncation) return fail(truncation.error());
  options.truncation = *truncation;
  options.preferences = spec.rlhf_type.has_value();
  return data::RowEncoder(*std::move(tokenizer),
                          chat ? std::optional(*std::move(chat)) : std::nullopt, options);
}

Status load_parts(const JobSpec& spec, const data::RowEncoder& encoder, TrainingData& out) {
  auto train = data::load_dataset(spec.dataset, encoder);
  if (!train) return fail(train.error());
  out.notes.push_back("training data: " + train->report.text(encoder.options()));
  if (!spec.val_dataset.empty()) {
    auto eval = data::load_dataset(spec.val_dataset, encoder);
    if (!eval) return fail(eval.error());
    out.notes.push_back("validation data: " + eval->report.text(encoder.options()));
    out.train = std::move(train->examples);
    out.eval = std::move(eval->examples);
    return {};
  }
  auto parts = data::split_dataset(train->examples, spec.split_dataset_ratio, spec.data_seed,
                                   out.examples_per_row);
  out.train = std::move(parts.train);
  out.eval = std::move(parts.eval);
  return {};
}

/// The largest token id; a data set of ids may hold one that the model has no row for.
Status check_ids(const data::EncodedDataset& examples, int64_t vocabulary) {
  for (int64_t i = 0; i < examples.size(); ++i) {
    for (const int32_t id : examples.input_ids(i)) {
      if (id >= 0 && id < vocabulary) continue;
      return fail(ErrorCode::kInvalidArgument,
                  "token id is past the model's vocabulary: " + std::to_string(id) +
                      ", vocab_size " + std::to_string(vocabulary) + ", example " +
                      std::to_string(i + 1));
    }
  }
  return {};
}

}  // namespace

std::vector<int64_t> TrainingData::examples_of(const std::vector<int64_t>& rows) const {
  if (packs.empty()) return data::examples_of_rows(rows, examples_per_row);
  std::vector<int64_t> examples;
  for (const int64_t row : rows) {
    const auto& members = packs[static_cast<size_t>(row)];
    examples.insert(examples.end(), members.begin(), members.end());
  }
  return examples;
}

int64_t TrainingData::labelled_tokens(const std::vector<int64_t>& rows) const {
  int64_t count = 0;
  for (const int64_t example : examples_of(rows)) count += labelled_tokens_of(train, example);
  return count;
}

data::Batch TrainingData::batch(const std::vector<int64_t>& rows) const {
  return data::make_batch(train, examples_of(rows));
}

data::Batch TrainingData::eval_batch(const std::vector<int64_t>& rows) const {
  return data::make_batch(eval, data::examples_of_rows(rows, examples_per_row));
}

Result<TrainingData> load_training_data(const JobSpec& spec, const std::filesystem::path& model,
                                        const models::ModelConfig& config) {
  const auto encoder = make_encoder(spec, model, config);
  if (!encoder) return fail(encoder.error());
  TrainingData out;
  if (spec.rlhf_type) out.examples_per_row = 2;
  if (auto status = load_parts(spec, *encoder, out); !status) return fail(status.error());
  for (const auto* part : {&out.train, &out.eval}) {
    if (auto status = check_ids(*part, config.vocab_size); !status) return fail(status.error());
  }
  if (spec.packing) {
    out.packs = data::pack(out.train, spec.packing_length.value_or(encoder->options().max_length));
    out.notes.push_back("packed " + std::to_string(out.train.size()) + " examples into " +
                        std::to_string(out.packs.size()) + " rows");
  }
  return out;
}

int64_t labelled_tokens_of(const data::EncodedDataset& examples, int64_t index) {
  const auto labels = examples.labels(index);
  if (labels.empty()) return 0;
  return std::count_if(labels.begin() + 1, labels.end(), [](int32_t label) { return label >= 0; });
}

models::TokenBatch token_batch(const data::Batch& batch) {
  return {batch.input_ids, batch.positions, batch.cu_seqlens, batch.labels};
}

std::vector<int64_t> token_keys(const data::Batch& batch) {
  std::vector<int64_t> keys(batch.input_ids.size());
  for (size_t row = 0; row + 1 < batch.cu_seqlens.size(); ++row) {
    for (int32_t t = batch.cu_seqlens[row]; t < batch.cu_seqlens[row + 1]; ++t) {
      keys[static_cast<size_t>(t)] = (batch.row_ids[row] << 32) + (t - batch.cu_seqlens[row]);
    }
  }
  return keys;
}

}  // namespace tunefleet::trainer
