#include "storage/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <vector>

#include "storage/gguf_dequant.h"

namespace tunefleet::storage {

namespace {

using nlohmann::ordered_json;

/// A GGUF architecture and what it is called in transformers.
struct Architecture {
  std::string_view gguf_name;
  std::string_view model_type;
  std::string_view class_name;
  bool permuted;       ///< llama.cpp's converter reorders q and k rows for it.
  bool head_dim_free;  ///< config.json may state a head_dim other than hidden_size / heads.
};
constexpr std::array<Architecture, 3> kArchitectures{
    {{"llama", "llama", "LlamaForCausalLM", true, true},
     {"qwen2", "qwen2", "Qwen2ForCausalLM", false, false},
     {"qwen3", "qwen3", "Qwen3ForCausalLM", false, true}}};
/// Mistral's files say "llama" and differ by name only, as they do for transformers.
constexpr Architecture kMistral{"llama", "mistral", "MistralForCausalLM", true, true};

/// The shortest decimal that is the same float32: 1e-05 rather than 9.999999747378752e-06.
double shortest_float(double value) {
  std::array<char, 64> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size() - 1, static_cast<float>(value));
  *end.ptr = '\0';
  return std::strtod(text.data(), nullptr);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(c < 128 ? std::tolower(c) : c); });
  return text;
}

Result<Architecture> find_architecture(const GgufMetadata& metadata) {
  const auto name = metadata.text("general.architecture");
  if (!name) return fail(name.error());
  const std::string title = lower(metadata.find_text("general.name").value_or(""));
  if (*name == "llama" && title.find("mistral") != std::string::npos) return kMistral;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.gguf_name == *name) return architecture;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("GGUF architecture is not supported (llama, qwen2 and qwen3 are): {}, {}",
                          *name, metadata.file().path().string()));
}

/// The factors by which llama.cpp divides each frequency are Llama 3's RoPE scaling, worked out.
/// Source: transformers' _compute_llama3_parameters.
double llama3_factor(double frequency, double factor, double low, double high, double original) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < original / high) return 1.0;
  if (wavelength > original / low) return factor;
  const double smooth = (original / wavelength - low) / (high - low);
  return 1.0 / ((1.0 - smooth) / factor + smooth);
}

/// Finds the scaling that gives the file's `rope_freqs.weight`: Llama 3's fixed 1, 4 and 8192 with
/// the largest factor in the tensor.
Result<ordered_json> llama3_scaling(const GgufTensor& tensor, double rope_theta, int64_t head_dim,
                                    const std::string& file) {
  const int64_t count = tensor.elements();
  std::vector<float> factors(count == head_dim / 2 ? static_cast<size_t>(count) : 0);
  const Status read = dequantize(tensor.type, {tensor.data, tensor.bytes}, factors);
  if (!read || factors.empty()) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("rope_freqs.weight is not one factor for each half "
                            "of a head: {} of {}, {}",
                            count, head_dim / 2, file));
  }
  const double factor = shortest_float(*std::max_element(factors.begin(), factors.end()));
  for (size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(rope_theta, -2.0 * static_cast<double>(i) / head_dim);
    const double expected = llama3_factor(frequency, factor, 1.0, 4.0, 8192.0);
    if (!(std::abs(expected - factors[i]) <= 1e-3 * expected)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("rope_freqs.weight is not Llama 3's RoPE scaling: {} at {}, {} "
                              "expected, {}",
                              factors[i], i, expected, file));
    }
  }
  return ordered_json{{"rope_type", "llama3"},
                      {"factor", factor},
                      {"low_freq_factor", 1.0},
                      {"high_freq_factor", 4.0},
                      {"original_max_position_embeddings", 8192}};
}

/// The `rope_scaling` object, or null.
Result<ordered_json> rope_scaling(const GgufMetadata& metadata, const std::string& prefix,
                                  double rope_theta, int64_t head_dim) {
  const std::string file = metadata.file().path().string();
  if (const GgufTensor* tensor = metadata.file().find_tensor("rope_freqs.weight")) {
    return llama3_scaling(*tensor, rope_theta, head_dim, file);
  }
  const std::string type = metadata.find_text(prefix + "rope.scaling.type").value_or("none");
  if (type == "none") return ordered_json(nullptr);
  const auto factor = metadata.number(prefix + "rope.scaling.factor");
  if (!factor) return fail(factor.error());
  ordered_json scaling{{"rope_type", type}, {"factor", shortest_float(*factor)}};
  if (type == "linear") return scaling;
  if (type != "yarn") {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("RoPE scaling is not supported (none, linear, yarn and Llama 3's are): "
                            "{}, {}",
                            type, file));
  }
  const auto original = metadata.integer(prefix + "rope.scaling.original_context_length");
  if (!original) return fail(original.error());
  scaling["original_max_position_embeddings"] = *original;
  return scaling;
}

/// Reads one positive size; kDataLoss for anything else, with an upper bound that keeps products
/// of three of them inside 63 bits.
Status read_size(const GgufMetadata& metadata, const std::string& key, int64_t& out) {
  const auto value = metadata.integer(key);
  if (!value) return fail(value.error());
  if (*value < 1 || *value > (1 << 21)) {
    return fail(ErrorCode::kDataLoss, fmt::format("GGUF size is out of range: {} = {}, {}", key,
                                                  *value, metadata.file().path().string()));
  }
  out = *value;
  return {};
}

Status read_sizes(const GgufMetadata& metadata, const std::string& prefix, bool head_dim_free,
                  GgufModelConfig& config) {
  const std::array<std::pair<const char*, int64_t*>, 4> required{
      {{"block_count", &config.num_hidden_layers},
       {"embedding_length", &config.hidden_size},
       {"feed_forward_length", &config.intermediate_size},
       {"attention.head_count", &config.num_attention_heads}}};
  for (const auto& [key, field] : required) {
    if (Status ok = read_size(metadata, prefix + key, *field); !ok) return ok;
  }
  config.num_key_value_heads = config.num_attention_heads;
  config.head_dim = config.hidden_size / config.num_attention_heads;
  const std::string kv_heads = prefix + "attention.head_count_kv";
  if (metadata.file().find(kv_heads) != nullptr) {
    if (Status ok = read_size(metadata, kv_heads, config.num_key_value_heads); !ok) return ok;
  }
  for (const char* key : {"attention.key_length", "rope.dimension_count"}) {
    if (!head_dim_free || metadata.file().find(prefix + key) == nullptr) continue;
    if (Status ok = read_size(metadata, prefix + key, config.head_dim); !ok) return ok;
    break;
  }
  const GgufTensor* embedding = metadata.file().find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || config.head_dim % 2 != 0) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("GGUF file has no token_embd.weight of two dimensions, or an odd head "
                            "size: {}, {}",
                            config.head_dim, metadata.file().path().string()));
  }
  config.vocab_size = embedding->shape[0];
  return {};
}

void put_token_ids(const GgufMetadata& metadata, ordered_json& out, bool with_end_of_turn) {
  const auto put = [&](const char* name, const char* key) {
    const auto id = metadata.find_integer(fmt::format("tokenizer.ggml.{}", key));
    if (id) out[name] = *id;
  };
  put("bos_token_id", "bos_token_id");
  put("eos_token_id", "eos_token_id");
  put("pad_token_id", "padding_token_id");
  const auto end_of_turn = metadata.find_integer("tokenizer.ggml.eot_token_id");
  if (!with_end_of_turn || !end_of_turn || !out.contains("eos_token_id")) return;
  if (out["eos_token_id"] == *end_of_turn) return;
  out["eos_token_id"] = ordered_json::array({out["eos_token_id"], *end_of_turn});
}

std::string_view torch_dtype_name(Dtype dtype) {
  return dtype == Dtype::kBF16 ? "bfloat16" : "float32";
}

/// Both spellings of RoPE's parameters: transformers 4's rope_theta and rope_scaling, and
/// transformers 5's rope_parameters.
void put_rope(ordered_json& config, double rope_theta, const ordered_json& scaling) {
  config["rope_theta"] = rope_theta;
  config["rope_scaling"] = scaling;
  ordered_json parameters = scaling.is_null() ? ordered_json{{"rope_type", "default"}} : scaling;
  parameters["rope_theta"] = rope_theta;
  config["rope_parameters"] = parameters;
}

}  // namespace

Result<int64_t> GgufMetadata::integer(const std::string& key) const {
  if (const auto value = find_integer(key)) return *value;
  return fail(ErrorCode::kDataLoss, fmt::format("GGUF file lacks an integer under a key: {}, {}",
                                                key, file_.path().string()));
}

Result<double> GgufMetadata::number(const std::string& key) const {
  if (const auto value = find_number(key)) return *value;
  return fail(ErrorCode::kDataLoss,
              fmt::format("GGUF file lacks a finite number under a key: {}, {}", key,
                          file_.path().string()));
}

Result<std::string> GgufMetadata::text(const std::string& key) const {
  if (const auto value = find_text(key)) return *value;
  return fail(ErrorCode::kDataLoss, fmt::format("GGUF file lacks a text under a key: {}, {}", key,
                                                file_.path().string()));
}

std::optional<int64_t> GgufMetadata::find_integer(const std::string& key) const {
  const GgufValue* value = file_.find(key);
  const auto number = value == nullptr ? std::nullopt : value->as_unsigned();
  if (!number || *number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<int64_t>(*number);
}

std::optional<double> GgufMetadata::find_number(const std::string& key) const {
  const GgufValue* value = file_.find(key);
  const auto number = value == nullptr ? std::nullopt : value->as_double();
  return number && std::isfinite(*number) ? number : std::nullopt;
}

std::optional<std::string> GgufMetadata::find_text(const std::string& key) const {
  const GgufValue* value = file_.find(key);
  const auto text = value == nullptr ? std::nullopt : value->as_text();
  return text ? std::optional<std::string>(*text) : std::nullopt;
}

std::optional<bool> GgufMetadata::find_bool(const std::string& key) const {
  const GgufValue* value = file_.find(key);
  return value == nullptr ? std::nullopt : value->as_bool();
}

Result<GgufModelConfig> read_model_config(const GgufFile& file, Dtype dtype) {
  const GgufMetadata metadata(file);
  const auto architecture = find_architecture(metadata);
  if (!architecture) return fail(architecture.error());
  const std::string prefix = std::string(architecture->gguf_name) + ".";
  GgufModelConfig model;
  if (Status ok = read_sizes(metadata, prefix, architecture->head_dim_free, model); !ok) {
    return fail(ok.error());
  }
  const auto epsilon = metadata.number(prefix + "attention.layer_norm_rms_epsilon");
  const auto context = metadata.integer(prefix + "context_length");
  if (!epsilon) return fail(epsilon.error());
  if (!context) return fail(context.error());
  const double rope_theta =
      shortest_float(metadata.find_number(prefix + "rope.freq_base").value_or(10'000.0));
  const auto scaling = rope_scaling(metadata, prefix, rope_theta, model.head_dim);
  if (!scaling) return fail(scaling.error());

  model.architecture = architecture->class_name;
  model.permuted = architecture->permuted;
  model.qk_norm = architecture->model_type == "qwen3";
  model.tied_embeddings = file.find_tensor("output.weight") == nullptr;
  ordered_json& config = model.config;
  config["architectures"] = {architecture->class_name};
  config["model_type"] = architecture->model_type;
  if (architecture->model_type == "llama" || architecture->model_type == "qwen3") {
    config["attention_bias"] = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  }
  config["attention_dropout"] = 0.0;
  put_token_ids(metadata, config, false);
  if (architecture->head_dim_free) config["head_dim"] = model.head_dim;
  config["hidden_act"] = "silu";
  config["hidden_size"] = model.hidden_size;
  config["initializer_range"] = 0.02;
  config["intermediate_size"] = model.intermediate_size;
  config["max_position_embeddings"] = *context;
  if (architecture->model_type == "llama") config["mlp_bias"] = false;
  if (architecture->model_type == "mistral") config["sliding_window"] = nullptr;
  config["num_attention_heads"] = model.num_attention_heads;
  config["num_hidden_layers"] = model.num_hidden_layers;
  config["num_key_value_heads"] = model.num_key_value_heads;
  config["rms_norm_eps"] = shortest_float(*epsilon);
  put_rope(config, rope_theta, *scaling);
  config["tie_word_embeddings"] = model.tied_embeddings;
  config["torch_dtype"] = torch_dtype_name(dtype);
  config["use_cache"] = true;
  config["vocab_size"] = model.vocab_size;

  model.generation_config["_from_model_config"] = true;
  put_token_ids(metadata, model.generation_config, true);
  return model;
}

}  // namespace tunefleet::storage
