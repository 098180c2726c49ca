#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tests/worker/kernels/compare.h"
#include "tuners/swift_model.h"
#include "worker/models/decoder.h"

namespace tunefleet::models {

/// Writes a two-layer decoder with random weights, which bfloat16 holds exactly, as a Hugging Face
/// directory and loads it; removed with this object. `extra` are members of config.json over the defaults: R"("attention_bias":
/// true)".
class TinyModel {
 public:
  explicit TinyModel(const std::string& extra = {}, const std::string& model_type = "llama");
  ~TinyModel();
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path weights() const { return directory_ / "model.safetensors"; }
  /// Loads it; fails the test when it does not load.
  std::unique_ptr<Decoder> load(at::ScalarType dtype = at::kFloat) const;

  static constexpr int64_t kVocabulary = 61;

 private:
  std::filesystem::path directory_;
};

/// `count` ids that look random, the same each time.
std::vector<int32_t> some_ids(size_t count, uint32_t seed = 1);

/// These sequences one behind the other, every token a label.
TokenBatch flat_batch(const std::vector<std::vector<int32_t>>& rows);

/// [N, V], without gradients. `training`: with what is drawn in step 0, each token's key its place
/// in the batch.
at::Tensor logits_of(const Decoder& model, const TokenBatch& batch = single_sequence(some_ids(9)),
                     bool training = false);

/// Ends the test with the error's message.
void expect_ok(const Status& status);

/// Adds normal noise to everything of the adapter that trains, as if it had been trained.
void randomise(const tuners::Adapter& adapter, double deviation = 0.2, uint64_t seed = 5);

}  // namespace tunefleet::models
