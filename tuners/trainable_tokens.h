#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/trainable_tokens_options.h"
#include "tuners/token_rows.h"

namespace tunefleet::tuners {

/// PEFT's trainable tokens as an adapter of its own: rows of embeddings that train, and with them
/// those of an output embedding on the same tensor.
class TrainableTokensAdapter : public Adapter {
 public:
  /// kInvalidArgument when no embedding is meant, or a token is past its end.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override { return parts_.tensors(name_, "", true); }
  std::vector<EmbeddingPart> embedding_tuners() const override { return parts_.embedding_tuners(); }
  std::vector<SiteTuner> linear_tuners() const override { return parts_.linear_tuners(); }
  bool can_merge() const override { return true; }
  void merge_into(const EmbeddingPart& part, LayerWeights& weights) const override;
  void merge_into(const SiteTuner& part, LayerWeights& weights) const override;
  using Adapter::merge_into;

 private:
  TrainableTokensAdapter(TunerOptions options, std::string name, TokenParts parts)
      : name_(std::move(name)), options_(std::move(options)), parts_(std::move(parts)) {}

  std::string name_;
  TunerOptions options_;
  TokenParts parts_;
};

}  // namespace tunefleet::tuners
