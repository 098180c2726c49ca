#include "worker/models/model_config.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

namespace tunefleet::models {
namespace {

using nlohmann::json;

/// Reads keys of one JSON object and keeps the first problem.
class Reader {
 public:
  Reader(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  template <typename T>
  void optional(const char* key, T& to) {
    const auto it = object_.find(key);
    if (it == object_.end() || it->is_null()) return;
    try {
      to = it->get<T>();
    } catch (const json::exception&) {
      problem(std::string("wrong type of ") + key + ": " + it->dump());
    }
  }
  void required(const char* key, int64_t& to) {
    if (!object_.contains(key)) return problem(std::string("missing key: ") + key);
    optional(key, to);
    positive(key, to);
  }
  void positive(const char* key, int64_t value) {
    if (value <= 0 || value > (int64_t{1} << 31)) {
      problem(std::string("out of range: ") + key + " = " + std::to_string(value));
    }
  }
  void problem(std::string text) {
    if (problem_.empty()) problem_ = where_ + ": " + text;
  }
  const std::string& first_problem() const { return problem_; }

 private:
  const json& object_;
  std::string where_;
  std::string problem_;
};

Result<json> read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) return fail(ErrorCode::kNotFound, "cannot read: " + path.string());
  auto value = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object())
    return fail(ErrorCode::kInvalidArgument, "not a JSON object: " + path.string());
  return value;
}

void read_rope(const json& config, ModelConfig& out, Reader& top) {
  top.optional("rope_theta", out.rope_theta);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const auto it = config.find(key);
    if (it == config.end() || !it->is_object()) continue;
    auto& rope = out.rope_scaling;
    Reader reader(*it, key);
    reader.optional("rope_theta", out.rope_theta);
    reader.optional("type", rope.type);
    reader.optional("rope_type", rope.type);
    reader.optional("factor", rope.factor);
    reader.optional("low_freq_factor", rope.low_freq_factor);
    reader.optional("high_freq_factor", rope.high_freq_factor);
    reader.optional("original_max_position_embeddings", rope.original_max_position_embeddings);
    reader.optional("beta_fast", rope.beta_fast);
    reader.optional("beta_slow", rope.beta_slow);
    reader.optional("attention_factor", rope.attention_factor);
    reader.optional("mscale", rope.mscale);
    reader.optional("mscale_all_dim", rope.mscale_all_dim);
    reader.optional("truncate", rope.truncate);
    if (!reader.first_problem().empty()) top.problem(reader.first_problem());
    break;
  }
  constexpr std::array<std::string_view, 4> kTypes{"default", "linear", "llama3", "yarn"};
  if (std::find(kTypes.begin(), kTypes.end(), out.rope_scaling.type) == kTypes.end()) {
    top.problem("rope scaling type is not default, linear, llama3 or yarn: " +
                out.rope_scaling.type);
  }
}

/// The sliding window of each layer, by the three ways config.json says it.
void read_windows(const json& config, ModelConfig& out, Reader& top) {
  out.sliding_windows.assign(static_cast<size_t>(std::max<int64_t>(out.num_hidden_layers, 0)), 0);
  int64_t window = 0;
  top.optional("sliding_window", window);
  bool used = out.model_type == "mistral";
  top.optional("use_sliding_window", used);
  if (window <= 0 || !used) return;
  int64_t first = 0;
  if (out.model_type != "mistral") top.optional("max_window_layers", first);
  const auto types = config.find("layer_types");
  for (size_t i = 0; i < out.sliding_windows.size(); ++i) {
    const bool typed = types != config.end() && types->is_array() && i < types->size();
    const bool slides =
        typed ? (*types)[i] == "sliding_attention" : static_cast<int64_t>(i) >= first;
    if (slides) out.sliding_windows[i] = window;
  }
}

void read_token_ids(const json& config, ModelConfig& out) {
  const auto bos = config.find("bos_token_id");
  if (bos != config.end() && bos->is_number_integer()) out.bos_token_id = bos->get<int64_t>();
  const auto eos = config.find("eos_token_id");
  if (eos == config.end()) return;
  std::vector<int64_t> ids;
  if (eos->is_number_integer()) ids.push_back(eos->get<int64_t>());
  if (eos->is_array()) {
    for (const auto& id : *eos) {
      if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
    }
  }
  if (!ids.empty()) out.eos_token_ids = std::move(ids);
}

void read_family(ModelConfig& out, Reader& top) {
  constexpr std::array<std::string_view, 4> kFamily{"llama", "qwen2", "qwen3", "mistral"};
  top.optional("model_type", out.model_type);
  if (std::find(kFamily.begin(), kFamily.end(), out.model_type) == kFamily.end()) {
    top.problem("model_type is not llama, qwen2, qwen3 or mistral: '" + out.model_type + "'");
  }
  std::string activation = "silu";
  top.optional("hidden_act", activation);
  if (activation != "silu") top.problem("hidden_act is not silu: " + activation);
  bool attention_bias = false;
  top.optional("attention_bias", attention_bias);
  out.qkv_bias = out.model_type == "qwen2" || attention_bias;
  out.output_bias = out.model_type != "qwen2" && attention_bias;
  top.optional("mlp_bias", out.mlp_bias);
  out.qk_norm = out.model_type == "qwen3";
}

void read_shape(ModelConfig& out, Reader& top) {
  top.required("vocab_size", out.vocab_size);
  top.required("hidden_size", out.hidden_size);
  top.required("intermediate_size", out.intermediate_size);
  top.required("num_hidden_layers", out.num_hidden_layers);
  top.required("num_attention_heads", out.num_attention_heads);
  out.num_key_value_heads = out.num_attention_heads;
  top.optional("num_key_value_heads", out.num_key_value_heads);
  top.positive("num_key_value_heads", out.num_key_value_heads);
  if (!top.first_problem().empty()) return;
  out.head_dim = out.hidden_size / out.num_attention_heads;
  top.optional("head_dim", out.head_dim);
  top.positive("head_dim", out.head_dim);
  out.max_position_embeddings = 2048;
  top.optional("max_position_embeddings", out.max_position_embeddings);
  top.optional("rms_norm_eps", out.rms_norm_eps);
  top.optional("tie_word_embeddings", out.tie_word_embeddings);
  top.optional("torch_dtype", out.dtype);
  top.optional("dtype", out.dtype);
  if (out.num_hidden_layers > 10000) top.problem("out of range: num_hidden_layers");
  if (out.head_dim % 2 != 0) top.problem("head_dim is odd: " + std::to_string(out.head_dim));
  if (out.num_attention_heads % out.num_key_value_heads != 0) {
    top.problem("num_attention_heads is not a multiple of num_key_value_heads");
  }
}

}  // namespace

Result<ModelConfig> load_model_config(const std::filesystem::path& directory) {
  const auto path = directory / "config.json";
  const auto config = read_json(path);
  if (!config) return fail(config.error());
  ModelConfig out;
  Reader reader(*config, path.string());
  read_family(out, reader);
  read_shape(out, reader);
  read_rope(*config, out, reader);
  if (reader.first_problem().empty()) read_windows(*config, out, reader);
  if (!reader.first_problem().empty())
    return fail(ErrorCode::kInvalidArgument, reader.first_problem());
  read_token_ids(*config, out);
  if (const auto generation = read_json(directory / "generation_config.json"))
    read_token_ids(*generation, out);
  return out;
}

}  // namespace tunefleet::models
