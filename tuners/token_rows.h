#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/lora_options.h"
#include "tuners/embedding_layer_tuner.h"
#include "tuners/linear_adapter.h"
#include "tuners/sites.h"

/// Trainable tokens: some rows of an embedding train, and stand in the place of the base's. What is
/// trained and stored are the rows themselves, not what is added to them.
namespace tunefleet::tuners {

/// Rows of a table [V, C] and the values that take their place.
class TokenRows {
 public:
  /// Values are those of the table, or N(0, 1) from (seed, stream) when `drawn`.
  TokenRows(const at::Tensor& table, const std::vector<int64_t>& rows);
  void draw(uint64_t seed, uint64_t stream);

  const at::Tensor& values() const { return values_; }  ///< [n, C] float32, a leaf that trains.
  const at::Tensor& rows() const { return rows_; }      ///< int64 [n]
  /// For each id its place among the rows, -1 for all others; int64.
  at::Tensor places(const at::Tensor& ids) const;
  void merge_into(LayerWeights& weights) const;

 private:
  at::Tensor rows_;
  at::Tensor place_of_;  ///< int64 [V]
  at::Tensor values_;
};

/// At an embedding.
class EmbeddingTokens : public EmbeddingLayerTuner {
 public:
  explicit EmbeddingTokens(std::shared_ptr<const TokenRows> rows) : rows_(std::move(rows)) {}
  at::Tensor forward(const at::Tensor& ids, const TensorNext& next,
                     const ForwardContext& context) const override;
  void merge_into(LayerWeights& weights) const override { rows_->merge_into(weights); }
  std::vector<LayerTensor> tensors() const override { return {}; }

 private:
  std::shared_ptr<const TokenRows> rows_;
};

/// At a linear layer whose weight has a row for each token: the output embedding.
class HeadTokens : public LinearLayerTuner {
 public:
  explicit HeadTokens(std::shared_ptr<const TokenRows> rows) : rows_(std::move(rows)) {}
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  void merge_into(LayerWeights& weights) const override { rows_->merge_into(weights); }
  std::vector<LayerTensor> tensors() const override { return {}; }

 private:
  std::shared_ptr<const TokenRows> rows_;
};

/// All trained rows of one adapter.
class TokenParts {
 public:
  /// As PEFT chooses (utils/other.py, set_additional_trainable_modules): rows of the input
  /// embedding train in an output embedding tied to it too, unless that is named with other rows.
  /// kInvalidArgument when a module is not there or a row is past its end.
  static Result<TokenParts> make(BaseModel& base, const std::vector<TrainedTokens>& tokens);
  /// Gives all rows values from N(0, 1).
  void draw(const std::string& adapter_name, uint64_t seed);

  bool empty() const { return parts_.empty(); }
  /// Paths of the modules whose rows train.
  std::vector<std::string> modules() const;
  /// Under "<module>.<infix>trainable_tokens_delta"; of a tied pair the embedding's, and for
  /// `with_copies` the same under the output embedding's name too, only to be saved.
  std::vector<AdapterTensor> tensors(const std::string& adapter_name, const std::string& infix,
                                     bool with_copies) const;
  std::vector<EmbeddingPart> embedding_tuners() const;
  std::vector<SiteTuner> linear_tuners() const;

 private:
  struct Part {
    std::string module;
    std::shared_ptr<TokenRows> rows = nullptr;
    EmbeddingSite* embedding = nullptr;
    std::unique_ptr<EmbeddingTokens> at_embedding = nullptr;
    LinearSite* linear = nullptr;
    std::unique_ptr<HeadTokens> at_linear = nullptr;
  };
  Status add(BaseModel& base, const TrainedTokens& tokens);
  void tie(BaseModel& base);

  std::vector<Part> parts_;
};

}  // namespace tunefleet::tuners
