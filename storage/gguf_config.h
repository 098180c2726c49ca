#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "proto/result.h"
#include "storage/dtype.h"
#include "storage/gguf.h"

namespace tunefleet::storage {

/// Required and optional metadata of a GGUF file, with errors that name key and file.
class GgufMetadata {
 public:
  explicit GgufMetadata(const GgufFile& file) : file_(file) {}

  Result<int64_t> integer(const std::string& key) const;
  Result<double> number(const std::string& key) const;
  Result<std::string> text(const std::string& key) const;
  /// Nothing when the key is absent or of another kind.
  std::optional<int64_t> find_integer(const std::string& key) const;
  std::optional<double> find_number(const std::string& key) const;
  std::optional<std::string> find_text(const std::string& key) const;
  std::optional<bool> find_bool(const std::string& key) const;
  const GgufFile& file() const { return file_; }

 private:
  const GgufFile& file_;
};

/// What a GGUF file says about the model, in Hugging Face's words.
struct GgufModelConfig {
  std::string architecture;  ///< "LlamaForCausalLM", …
  int64_t num_hidden_layers = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  bool permuted = false;  ///< q and k rows are stored in llama.cpp's RoPE order.
  bool qk_norm = false;   ///< q_norm and k_norm stand before RoPE (Qwen3).
  bool tied_embeddings = false;
  nlohmann::ordered_json config;             ///< config.json
  nlohmann::ordered_json generation_config;  ///< generation_config.json
};

/// Reads the model's description. kInvalidArgument for an architecture or RoPE scaling that is not
/// supported; kDataLoss for a missing key. `dtype` is what config.json says of the weights.
Result<GgufModelConfig> read_model_config(const GgufFile& file, Dtype dtype);

}  // namespace tunefleet::storage
