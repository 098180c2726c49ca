#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "storage/sharded_model.h"
#include "tuners/tensor_io.h"
#include "worker/models/decoder.h"

namespace tunefleet::models {
namespace {

/// Lets go of mapped pages whose content has been copied: they would only fill memory.
void forget_pages(const storage::TensorView& view) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto from = (reinterpret_cast<uintptr_t>(view.data) + page - 1) / page * page;
  const auto to = (reinterpret_cast<uintptr_t>(view.data) + view.bytes) / page * page;
  if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

}  // namespace

/// Fills a Decoder's slots from a directory's tensors and keeps the first problem.
class WeightLoader {
 public:
  WeightLoader(Decoder& model, std::shared_ptr<storage::ShardedModel> files,
               const LoadOptions& options, std::string directory)
      : model_(model),
        files_(std::move(files)),
        options_(options),
        directory_(std::move(directory)) {}

  Status load() {
    const auto& c = model_.config_;
    model_.embed_tokens_.path = "model.embed_tokens";
    fill(model_.embed_tokens_.weight, "model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
    model_.layers_.make(c.num_hidden_layers);
    for (int64_t i = 0; i < c.num_hidden_layers && problem_.empty(); ++i) load_layer(i);
    fill(model_.final_norm_, "model.norm.weight", {c.hidden_size});
    load_head();
    if (!problem_.empty()) return fail(code_, problem_);
    return {};
  }

 private:
  void load_layer(int64_t index) {
    const auto& c = model_.config_;
    auto& layer = *model_.layers_.all()[static_cast<size_t>(index)];
    layer.attention.num_heads = c.num_attention_heads;
    layer.attention.num_key_value_heads = c.num_key_value_heads;
    layer.attention.head_dim = c.head_dim;
    const std::string at = "model.layers." + std::to_string(index) + ".";
    const int64_t heads = c.num_attention_heads * c.head_dim;
    const int64_t kv_heads = c.num_key_value_heads * c.head_dim;
    layer.window = c.sliding_windows[static_cast<size_t>(index)];
    fill(layer.input_norm, at + "input_layernorm.weight", {c.hidden_size});
    fill(layer.post_attention_norm, at + "post_attention_layernorm.weight", {c.hidden_size});
    fill(layer.q_proj, at + "self_attn.q_proj", {heads, c.hidden_size}, c.qkv_bias);
    fill(layer.k_proj, at + "self_attn.k_proj", {kv_heads, c.hidden_size}, c.qkv_bias);
    fill(layer.v_proj, at + "self_attn.v_proj", {kv_heads, c.hidden_size}, c.qkv_bias);
    fill(layer.o_proj, at + "self_attn.o_proj", {c.hidden_size, heads}, c.output_bias);
    fill(layer.gate_proj, at + "mlp.gate_proj", {c.intermediate_size, c.hidden_size}, c.mlp_bias);
    fill(layer.up_proj, at + "mlp.up_proj", {c.intermediate_size, c.hidden_size}, c.mlp_bias);
    fill(layer.down_proj, at + "mlp.down_proj", {c.hidden_size, c.intermediate_size}, c.mlp_bias);
    if (!c.qk_norm) return;
    fill(layer.q_norm, at + "self_attn.q_norm.weight", {c.head_dim});
    fill(layer.k_norm, at + "self_attn.k_norm.weight", {c.head_dim});
  }

  void load_head() {
    auto& head = model_.lm_head_;
    if (!model_.config_.tie_word_embeddings) {
      return fill(head, "lm_head", {model_.config_.vocab_size, model_.config_.hidden_size}, false);
    }
    head.path = "lm_head";
    head.weight.path = "lm_head.weight";
    head.bias.path = "lm_head.bias";
    head.weight.base = model_.embed_tokens_.weight.base;
  }

  void fill(tuners::LinearSite& site, const std::string& path, at::IntArrayRef shape, bool bias) {
    site.path = path;
    fill(site.weight, path + ".weight", shape);
    site.bias.path = path + ".bias";
    if (bias) fill(site.bias, path + ".bias", shape.slice(0, 1));
  }

  void fill(tuners::ParameterSlot& slot, const std::string& path, at::IntArrayRef shape) {
    if (!problem_.empty()) return;
    slot.path = path;
    const auto* view = files_->find(path);
    if (view == nullptr) {
      return report(ErrorCode::kNotFound,
                    "tensor is missing from the model: " + path + ", " + directory_);
    }
    if (at::IntArrayRef(view->shape) != shape) {
      return report(ErrorCode::kInvalidArgument,
                    "tensor has another shape than config.json says: " + path + ", " +
                        tuners::shape_text(view->shape) + " instead of " +
                        tuners::shape_text(shape) + ", " + directory_);
    }
    const auto mapped = tuners::map_tensor(*view, files_);
    slot.base = mapped.to(options_.device, options_.dtype);
    if (slot.base.const_data_ptr() != mapped.const_data_ptr()) forget_pages(*view);
  }

  void report(ErrorCode code, std::string text) {
    code_ = code;
    problem_ = std::move(text);
  }

  Decoder& model_;
  std::shared_ptr<storage::ShardedModel> files_;
  LoadOptions options_;
  std::string directory_;
  ErrorCode code_ = ErrorCode::kInternal;
  std::string problem_;
};

Decoder::Decoder(ModelConfig config) : config_(std::move(config)), rope_(config_) {
  sequence_ = {.hidden_size = config_.hidden_size,
               .num_layers = config_.num_hidden_layers,
               .num_heads = config_.num_attention_heads,
               .num_key_value_heads = config_.num_key_value_heads,
               .head_dim = config_.head_dim};
}

Result<std::unique_ptr<Decoder>> Decoder::load(const std::filesystem::path& directory,
                                               const LoadOptions& options) {
  auto config = load_model_config(directory);
  if (!config) return fail(config.error());
  auto files = storage::ShardedModel::open(directory);
  if (!files) return fail(files.error());
  std::unique_ptr<Decoder> model(new Decoder(*std::move(config)));
  model->name_or_path_ = directory.string();
  const at::NoGradGuard no_grad;
  WeightLoader loader(*model, std::make_shared<storage::ShardedModel>(*std::move(files)), options,
                      directory.string());
  if (const auto status = loader.load(); !status) return fail(status.error());
  return model;
}

}  // namespace tunefleet::models
