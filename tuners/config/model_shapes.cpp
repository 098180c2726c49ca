#include "tuners/config/model_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <tuple>

#include "storage/sharded_model.h"

namespace tunefleet::tuners {
namespace {

using nlohmann::json;

constexpr std::string_view kLayers = "model.layers.";
constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";

/// Inside a layer, as the decoder has its parameters.
constexpr std::array<std::string_view, 11> kInLayer{
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",        "self_attn.o_proj",
    "self_attn.q_norm", "self_attn.k_norm", "mlp.gate_proj",           "mlp.up_proj",
    "mlp.down_proj",    "input_layernorm",  "post_attention_layernorm"};

/// Where a parameter stands: part of the model, number of the layer, place in it.
using Place = std::tuple<int64_t, int64_t, size_t, std::string>;

Place place_of(const std::string& path) {
  if (path == kEmbedding) return {0, 0, 0, path};
  if (path == kHead) return {3, 0, 0, path};
  if (!path.starts_with(kLayers)) return {2, 0, 0, path};
  int64_t number = 0;
  const char* begin = path.data() + kLayers.size();
  const char* end = path.data() + path.size();
  const auto rest = std::from_chars(begin, end, number).ptr;
  const std::string_view inside(std::min(rest + 1, end), end);
  const auto found = std::ranges::find_if(
      kInLayer, [&](std::string_view module) { return inside.starts_with(module); });
  // A weight stands before its bias.
  const std::string last = path.ends_with(".bias") ? "1" : "0";
  return {1, number, static_cast<size_t>(found - kInLayer.begin()), last + path};
}

class ConfigReader {
 public:
  explicit ConfigReader(const json& config) : config_(config) {}

  int64_t number(const char* key, int64_t otherwise) {
    const auto found = config_.find(key);
    if (found != config_.end() && found->is_number_integer() && *found > 0) {
      return found->get<int64_t>();
    }
    if (otherwise == 0 && missing_.empty()) missing_ = key;
    return otherwise;
  }
  const std::string& missing() const { return missing_; }

 private:
  const json& config_;
  std::string missing_;
};

/// Text of a module path without its parameter: "a.b" of "a.b.weight".
std::string module_of(const std::string& path) { return path.substr(0, path.rfind('.')); }

ModelModules modules_of(const ModelShapes& shapes, const json& config) {
  ModelModules modules;
  std::vector<std::string> paths;
  for (const auto& parameter : shapes.parameters) paths.push_back(parameter.path);
  if (shapes.tied) paths.emplace_back(kHead);
  modules.modules = modules_of_parameters(paths);
  for (const auto& path : paths) {
    const auto* parameter = shapes.find(path);
    if (parameter->shape.size() != 2 || !path.ends_with(".weight")) continue;
    (path == kEmbedding ? modules.embeddings : modules.linear).push_back(module_of(path));
  }
  modules.output_embedding = module_of(std::string(kHead));
  modules.model_type = config.value("model_type", "");
  return modules;
}

std::string dtype_text(storage::Dtype dtype) {
  if (dtype == storage::Dtype::kBF16) return "bfloat16";
  return dtype == storage::Dtype::kF16 ? "float16" : "float32";
}

}  // namespace

int64_t ParameterShape::size() const {
  int64_t size = 1;
  for (const int64_t dimension : shape) size *= dimension;
  return size;
}

const ParameterShape* ModelShapes::find(const std::string& path) const {
  const std::string wanted = tied && path == kHead ? std::string(kEmbedding) : path;
  const auto found = std::ranges::find(parameters, wanted, &ParameterShape::path);
  return found == parameters.end() ? nullptr : &*found;
}

int64_t ModelShapes::parameter_count() const {
  int64_t count = 0;
  for (const auto& parameter : parameters) count += parameter.size();
  return count;
}

Result<ModelShapes> model_shapes_of(std::string_view config_text,
                                    std::vector<ParameterShape> parameters, std::string dtype) {
  const auto config = json::parse(config_text, nullptr, false);
  if (!config.is_object()) {
    return fail(ErrorCode::kInvalidArgument, "the model's config.json is not a JSON object");
  }
  ConfigReader reader(config);
  ModelShapes shapes;
  shapes.dtype = std::move(dtype);
  shapes.hidden_size = reader.number("hidden_size", 0);
  shapes.intermediate_size = reader.number("intermediate_size", 0);
  shapes.num_layers = reader.number("num_hidden_layers", 0);
  shapes.num_attention_heads = reader.number("num_attention_heads", 0);
  shapes.vocab_size = reader.number("vocab_size", 0);
  shapes.max_position_embeddings = reader.number("max_position_embeddings", 0);
  if (!reader.missing().empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the model's config.json has no {}", reader.missing()));
  }
  shapes.num_key_value_heads = reader.number("num_key_value_heads", shapes.num_attention_heads);
  shapes.head_dim = reader.number("head_dim", shapes.hidden_size / shapes.num_attention_heads);
  const auto has = [&](std::string_view path) {
    return std::ranges::find(parameters, path, &ParameterShape::path) != parameters.end();
  };
  if (!has(kEmbedding)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the model's weights have no {}: it is not a decoder", kEmbedding));
  }
  shapes.tied = config.value("tie_word_embeddings", false) || !has(kHead);
  std::erase_if(parameters, [&](const ParameterShape& parameter) {
    return parameter.path.ends_with("inv_freq") || (shapes.tied && parameter.path == kHead);
  });
  std::ranges::sort(parameters, {}, [](const auto& each) { return place_of(each.path); });
  shapes.parameters = std::move(parameters);
  shapes.modules = modules_of(shapes, config);
  return shapes;
}

Result<ModelShapes> read_model_shapes(const std::filesystem::path& directory) {
  std::ifstream file(directory / "config.json", std::ios::binary);
  std::stringstream config;
  config << file.rdbuf();
  if (!file) return fail(ErrorCode::kNotFound, "the model has no readable config.json");
  const auto model = storage::ShardedModel::open(directory);
  if (!model) return fail(model.error());
  std::vector<ParameterShape> parameters;
  for (const auto* tensor : model->tensors()) parameters.push_back({tensor->name, tensor->shape});
  const auto* embedding = model->find(kEmbedding);
  return model_shapes_of(config.str(), std::move(parameters),
                         embedding == nullptr ? "float32" : dtype_text(embedding->dtype));
}

}  // namespace tunefleet::tuners
