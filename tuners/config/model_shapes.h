#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/target_match.h"

namespace tunefleet::tuners {

/// A parameter of a base model.
struct ParameterShape {
  std::string path;            ///< "model.layers.3.mlp.up_proj.weight"
  std::vector<int64_t> shape;  ///< Linear layers: [out, in].

  int64_t size() const;  ///< Numbers in it.
};

/// A decoder by what its files say: config.json and the headers of the weights. No tensor is read.
struct ModelShapes {
  ModelModules modules;
  /// In the model's order: embedding, layers, norm, head. A tied head is not among them.
  std::vector<ParameterShape> parameters;
  bool tied = false;        ///< The head is the embedding.
  std::string dtype;        ///< In which the weights are stored: "float32", "bfloat16", "float16".
  int64_t hidden_size = 0;  ///< Sizes of config.json.
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  int64_t vocab_size = 0;

  /// The parameter of that path, a tied head's being the embedding's; null when there is none.
  const ParameterShape* find(const std::string& path) const;
  int64_t parameter_count() const;  ///< Numbers in all of them, a tied head's once.
};

/// Reads a Hugging Face directory. Errors as storage::ShardedModel::open(); kInvalidArgument names
/// what config.json lacks.
Result<ModelShapes> read_model_shapes(const std::filesystem::path& directory);

/// The same of parts: `config_text` is config.json's. `parameters` in any order.
Result<ModelShapes> model_shapes_of(std::string_view config_text,
                                    std::vector<ParameterShape> parameters, std::string dtype);

}  // namespace tunefleet::tuners
