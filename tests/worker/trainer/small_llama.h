#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/tuners/ms_swift_case.h"
#include "tuners/full_adapter.h"
#include "tuners/swift_model.h"
#include "worker/models/decoder.h"

namespace tunefleet::trainer {

/// The model that the golden values of ms-swift were made with: 4 layers, untied, float32.
inline std::unique_ptr<models::Decoder> small_llama(at::ScalarType dtype = at::kFloat) {
  auto model = models::Decoder::load("tests/oracle/ms_swift/model", {.dtype = dtype});
  if (!model) throw std::runtime_error(model.error().message);
  return *std::move(model);
}

/// Rows [B, T] of token ids one behind the other, every token a label.
inline models::TokenBatch batch_of(const at::Tensor& ids) {
  models::TokenBatch batch{.input_ids = {}, .positions = {}, .boundaries = {0}, .labels = {}};
  for (int64_t row = 0; row < ids.size(0); ++row) {
    for (int64_t t = 0; t < ids.size(1); ++t) {
      batch.input_ids.push_back(static_cast<int32_t>(ids[row][t].item<int64_t>()));
      batch.positions.push_back(static_cast<int32_t>(t));
    }
    batch.boundaries.push_back(static_cast<int32_t>(batch.input_ids.size()));
  }
  batch.labels = batch.input_ids;
  return batch;
}

inline at::Tensor some_rows(int64_t rows = 2, int64_t length = 9) {
  at::manual_seed(11);
  return at::randint(3, 128, {rows, length});
}

/// The mean cross-entropy of the next tokens.
inline at::Tensor mean_loss(const models::Decoder& model, const at::Tensor& ids) {
  const auto targets = static_cast<double>(ids.size(0) * (ids.size(1) - 1));
  const tuners::ForwardContext context{.training = true};
  return model.loss(batch_of(ids), context, 1.0 / targets, nullptr);
}

inline at::Tensor logits_of(const models::Decoder& model, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const tuners::ForwardContext context;
  return model.logits(model.hidden_states(batch_of(ids), context), context).clone();
}

/// Full tuning on a model. Throws what the options do wrong.
struct FullyTuned {
  explicit FullyTuned(models::Decoder& model, const tuners::FullOptions& options = {})
      : swift(model) {
    auto made = tuners::FullAdapter::make(options, {.base = model, .name = "default"});
    if (!made) throw std::runtime_error(made.error().message);
    adapter = made->get();
    if (auto status = swift.add_adapter(*std::move(made)); !status)
      throw std::runtime_error(status.error().message);
  }

  tuners::SwiftModel swift;
  tuners::FullAdapter* adapter = nullptr;
};

}  // namespace tunefleet::trainer
