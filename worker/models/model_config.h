#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::models {

/// How rotary frequencies are stretched beyond the trained length; fields as in config.json's
/// rope_scaling (rope_parameters in newer files).
struct RopeScaling {
  std::string type = "default";  ///< default | linear | llama3 | yarn
  double factor = 1.0;
  double low_freq_factor = 1.0;                  ///< llama3
  double high_freq_factor = 4.0;                 ///< llama3
  int64_t original_max_position_embeddings = 0;  ///< llama3, yarn; 0: max_position_embeddings
  double beta_fast = 32.0;                       ///< yarn
  double beta_slow = 1.0;                        ///< yarn
  double attention_factor = 0.0;                 ///< yarn; 0: derived from factor
  double mscale = 0.0;                           ///< yarn; 0: unset
  double mscale_all_dim = 0.0;                   ///< yarn; 0: unset
  bool truncate = true;                          ///< yarn
};

/// The shape of a decoder of the Llama family: llama, qwen2, qwen3, mistral. Read from config.json.
struct ModelConfig {
  std::string model_type;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  ///< Of o_proj.
  bool mlp_bias = false;
  bool qk_norm = false;                  ///< RMS norm of each query and key head (qwen3).
  std::vector<int64_t> sliding_windows;  ///< Per layer; 0: sees everything before it.
  std::string dtype = "float32";         ///< As stored: float32 | bfloat16 | float16.
  std::vector<int64_t> eos_token_ids;    ///< generation_config.json's when it has them.
  int64_t bos_token_id = -1;
};

/// Reads `directory`/config.json. kInvalidArgument names the file and the key that is missing, of a
/// wrong type, out of range, or of an architecture that is not in the family.
Result<ModelConfig> load_model_config(const std::filesystem::path& directory);

}  // namespace tunefleet::models
