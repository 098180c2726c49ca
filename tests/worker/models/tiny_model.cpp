#include "tests/worker/models/tiny_model.h"

#include <unistd.h>

#include <fstream>
#include <map>

#include "storage/safetensors.h"
#include "tuners/tensor_io.h"

namespace tunefleet::models {
namespace {

constexpr int64_t kHidden = 24;
constexpr int64_t kHeads = 4;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kDim = 6;
constexpr int64_t kFfn = 40;

struct Weights {
  bool qkv_bias = false, output_bias = false, tied = false, qk_norm = false;
  int layers = 2;
};

void write_weights(const std::filesystem::path& path, const Weights& has) {
  std::map<std::string, at::Tensor> tensors;
  const auto add = [&](const std::string& name, at::IntArrayRef shape, double scale = 0.3,
                       double mean = 0.0) {
    tensors[name] = (at::randn(shape) * scale + mean).to(at::kBFloat16).to(at::kFloat);
  };
  const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool with_bias) {
    add(name + ".weight", {out, in});
    if (with_bias) add(name + ".bias", {out});
  };
  add("model.embed_tokens.weight", {TinyModel::kVocabulary, kHidden});
  add("model.norm.weight", {kHidden}, 0.1, 1.0);
  if (!has.tied) add("lm_head.weight", {TinyModel::kVocabulary, kHidden});
  for (int layer = 0; layer < has.layers; ++layer) {
    const auto at = "model.layers." + std::to_string(layer) + ".";
    add(at + "input_layernorm.weight", {kHidden}, 0.1, 1.0);
    add(at + "post_attention_layernorm.weight", {kHidden}, 0.1, 1.0);
    linear(at + "self_attn.q_proj", kHeads * kDim, kHidden, has.qkv_bias);
    linear(at + "self_attn.k_proj", kKvHeads * kDim, kHidden, has.qkv_bias);
    linear(at + "self_attn.v_proj", kKvHeads * kDim, kHidden, has.qkv_bias);
    linear(at + "self_attn.o_proj", kHidden, kHeads * kDim, has.output_bias);
    if (has.qk_norm) add(at + "self_attn.q_norm.weight", {kDim}, 0.1, 1.0);
    if (has.qk_norm) add(at + "self_attn.k_norm.weight", {kDim}, 0.1, 1.0);
    linear(at + "mlp.gate_proj", kFfn, kHidden, false);
    linear(at + "mlp.up_proj", kFfn, kHidden, false);
    linear(at + "mlp.down_proj", kHidden, kFfn, false);
  }
  std::vector<storage::TensorView> views;
  for (const auto& [name, tensor] : tensors) views.push_back(tuners::view_of(name, tensor));
  const auto status = storage::write_safetensors(path, views, {});
  if (!status) ADD_FAILURE() << status.error().message;
}

}  // namespace

TinyModel::TinyModel(const std::string& extra, const std::string& model_type) {
  at::manual_seed(17);
  std::string name = (std::filesystem::temp_directory_path() / "tunefleet-model-XXXXXX").string();
  directory_ = mkdtemp(name.data());
  std::ofstream(directory_ / "config.json")
      << R"({"model_type": ")" << model_type << R"(", "vocab_size": )" << kVocabulary
      << R"(, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,)"
      << R"( "num_key_value_heads": 2, "head_dim": 6, "rms_norm_eps": 1e-5, "eos_token_id": 2,)"
      << R"( "max_position_embeddings": 128)" << (extra.empty() ? "" : ", ") << extra << "}";
  const auto says = [&](const std::string& member) {
    return extra.find(member) != std::string::npos;
  };
  Weights has{.qkv_bias = model_type == "qwen2" || says("\"attention_bias\": true"),
              .output_bias = says("\"attention_bias\": true"),
              .tied = says("\"tie_word_embeddings\": true"),
              .qk_norm = model_type == "qwen3"};
  const std::string layers = "\"num_hidden_layers\": ";
  if (says(layers)) has.layers = std::stoi(extra.substr(extra.find(layers) + layers.size()));
  write_weights(weights(), has);
}

TinyModel::~TinyModel() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::unique_ptr<Decoder> TinyModel::load(at::ScalarType dtype) const {
  auto model = Decoder::load(directory_, {.dtype = dtype});
  if (!model) throw std::runtime_error(model.error().message);
  return *std::move(model);
}

std::vector<int32_t> some_ids(size_t count, uint32_t seed) {
  std::vector<int32_t> ids(count);
  for (auto& id : ids) {
    seed = seed * 1664525U + 1013904223U;
    id = static_cast<int32_t>((seed >> 8) % TinyModel::kVocabulary);
  }
  return ids;
}

TokenBatch flat_batch(const std::vector<std::vector<int32_t>>& rows) {
  TokenBatch batch;
  batch.boundaries = {0};
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) batch.positions.push_back(static_cast<int32_t>(i));
    batch.input_ids.insert(batch.input_ids.end(), row.begin(), row.end());
    batch.boundaries.push_back(static_cast<int32_t>(batch.input_ids.size()));
  }
  batch.labels = batch.input_ids;
  return batch;
}

at::Tensor logits_of(const Decoder& model, const TokenBatch& batch, bool training) {
  const at::NoGradGuard no_grad;
  const auto tokens = static_cast<int64_t>(batch.input_ids.size());
  const tuners::ForwardContext context{.training = training,
                                       .token_keys = at::arange(tokens, at::kLong)};
  return model.logits(model.hidden_states(batch, context), context);
}

void expect_ok(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message);
}

void randomise(const tuners::Adapter& adapter, double deviation, uint64_t seed) {
  const at::NoGradGuard no_grad;
  at::manual_seed(seed);
  for (const auto& each : adapter.tensors()) {
    if (each.trains) each.tensor.add_(at::randn_like(each.tensor, at::kFloat).mul(deviation));
  }
}

}  // namespace tunefleet::models
