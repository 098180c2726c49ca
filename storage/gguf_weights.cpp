#include "storage/gguf_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string_view>

#include "storage/gguf_dequant.h"
#include "storage/half_float.h"
#include "storage/safetensors.h"

namespace tunefleet::storage {

namespace {

/// A tensor that the architecture has.
struct Expected {
  std::string gguf_name;
  std::string hf_name;
  std::vector<int64_t> shape;
  bool required = true;
  int64_t rotary_heads = 0;
};

std::vector<Expected> expected_of_layer(const GgufModelConfig& model, int64_t layer) {
  const std::string from = fmt::format("blk.{}.", layer);
  const std::string to = fmt::format("model.layers.{}.", layer);
  const int64_t hidden = model.hidden_size;
  const int64_t ffn = model.intermediate_size;
  const int64_t q = model.num_attention_heads * model.head_dim;
  const int64_t kv = model.num_key_value_heads * model.head_dim;
  const int64_t q_heads = model.permuted ? model.num_attention_heads : 0;
  const int64_t kv_heads = model.permuted ? model.num_key_value_heads : 0;
  std::vector<Expected> all;
  const auto norm = [&](const char* gguf, const char* hf, int64_t size) {
    all.push_back({from + gguf + ".weight", to + hf + ".weight", {size}});
  };
  const auto linear = [&](const char* gguf, const char* hf, int64_t out, int64_t in,
                          int64_t heads) {
    all.push_back({from + gguf + ".weight", to + hf + ".weight", {out, in}, true, heads});
    all.push_back({from + gguf + ".bias", to + hf + ".bias", {out}, false, heads});
  };
  norm("attn_norm", "input_layernorm", hidden);
  linear("attn_q", "self_attn.q_proj", q, hidden, q_heads);
  linear("attn_k", "self_attn.k_proj", kv, hidden, kv_heads);
  linear("attn_v", "self_attn.v_proj", kv, hidden, 0);
  linear("attn_output", "self_attn.o_proj", hidden, q, 0);
  if (model.qk_norm) {
    norm("attn_q_norm", "self_attn.q_norm", model.head_dim);
    norm("attn_k_norm", "self_attn.k_norm", model.head_dim);
  }
  norm("ffn_norm", "post_attention_layernorm", hidden);
  linear("ffn_gate", "mlp.gate_proj", ffn, hidden, 0);
  linear("ffn_up", "mlp.up_proj", ffn, hidden, 0);
  linear("ffn_down", "mlp.down_proj", hidden, ffn, 0);
  return all;
}

std::vector<Expected> expected_of_model(const GgufModelConfig& model) {
  const int64_t hidden = model.hidden_size;
  std::vector<Expected> all{
      {"token_embd.weight", "model.embed_tokens.weight", {model.vocab_size, hidden}},
      {"output_norm.weight", "model.norm.weight", {hidden}},
      {"output.weight", "lm_head.weight", {model.vocab_size, hidden}, false}};
  for (int64_t layer = 0; layer < model.num_hidden_layers; ++layer) {
    for (Expected& expected : expected_of_layer(model, layer)) all.push_back(std::move(expected));
  }
  return all;
}

Status check_source(const GgufTensor& tensor, const Expected& expected, const std::string& file) {
  if (tensor.shape != expected.shape) {
    return fail(
        ErrorCode::kDataLoss,
        fmt::format("GGUF tensor's shape is not what the model's sizes say: {}, [{}] != [{}], "
                    "{}",
                    tensor.name, fmt::join(tensor.shape, ", "), fmt::join(expected.shape, ", "),
                    file));
  }
  if (can_dequantize(tensor.type)) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("GGUF tensor type is not supported (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
                  "Q5_1, Q4_K, Q5_K and Q6_K are): {}, {}, {}",
                  ggml_type_traits(tensor.type)->name, tensor.name, file));
}

Status check_nothing_is_left(const GgufFile& file, const std::set<std::string_view>& used) {
  for (const GgufTensor& tensor : file.tensors()) {
    if (used.contains(tensor.name) || tensor.name == "rope_freqs.weight") continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("GGUF file has a tensor that its architecture does not: {}, {}",
                            tensor.name, file.path().string()));
  }
  return {};
}

/// Converts and appends consecutive rows of the written tensor.
class RowWriter {
 public:
  RowWriter(SafetensorsWriter& writer, const WeightPlan& plan, Dtype dtype)
      : writer_(writer),
        plan_(plan),
        dtype_(dtype),
        rows_(plan.rotary_heads > 0 || plan.source->shape.size() > 1 ? plan.source->shape[0] : 1),
        columns_(plan.source->elements() / std::max<int64_t>(rows_, 1)),
        row_bytes_(plan.source->bytes / static_cast<size_t>(std::max<int64_t>(rows_, 1))) {}

  Status write_all() {
    const int64_t step = std::max<int64_t>(1, kBufferElements / std::max<int64_t>(1, columns_));
    for (int64_t row = 0; row < rows_; row += step) {
      if (Status ok = write_rows(row, std::min(rows_, row + step)); !ok) return ok;
    }
    return {};
  }

 private:
  static constexpr int64_t kBufferElements = 1 << 20;

  Status write_rows(int64_t begin, int64_t end) {
    floats_.resize(static_cast<size_t>((end - begin) * columns_));
    const GgufTensor& source = *plan_.source;
    for (int64_t row = begin; row < end; ++row) {
      const auto from = static_cast<size_t>(source_row(row, rows_, plan_.rotary_heads));
      const Status ok =
          dequantize(source.type, {source.data + from * row_bytes_, row_bytes_},
                     std::span(floats_).subspan(static_cast<size_t>((row - begin) * columns_),
                                                static_cast<size_t>(columns_)));
      if (!ok) return fail(source.name, ok.error());
    }
    if (dtype_ == Dtype::kF32) return writer_.append(std::as_bytes(std::span(floats_)));
    halves_.resize(floats_.size());
    std::transform(floats_.begin(), floats_.end(), halves_.begin(), bfloat16_from_float);
    return writer_.append(std::as_bytes(std::span(halves_)));
  }

  SafetensorsWriter& writer_;
  const WeightPlan& plan_;
  Dtype dtype_;
  int64_t rows_;
  int64_t columns_;
  size_t row_bytes_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

}  // namespace

Result<std::vector<WeightPlan>> plan_weights(const GgufFile& file, const GgufModelConfig& model) {
  const std::string path = file.path().string();
  std::vector<WeightPlan> plan;
  std::set<std::string_view> used;
  for (const Expected& expected : expected_of_model(model)) {
    const GgufTensor* source = file.find_tensor(expected.gguf_name);
    if (source == nullptr && expected.required) {
      return fail(ErrorCode::kDataLoss,
                  fmt::format("GGUF file lacks a tensor of its architecture: {}, {}",
                              expected.gguf_name, path));
    }
    if (source == nullptr) continue;
    if (Status ok = check_source(*source, expected, path); !ok) return fail(ok.error());
    used.insert(source->name);
    plan.push_back({source, expected.hf_name, expected.rotary_heads});
  }
  if (Status ok = check_nothing_is_left(file, used); !ok) return fail(ok.error());
  return plan;
}

int64_t source_row(int64_t row, int64_t rows, int64_t rotary_heads) {
  if (rotary_heads == 0) return row;
  const int64_t head_dim = rows / rotary_heads;
  const int64_t in_head = row % head_dim;
  const int64_t half = in_head / (head_dim / 2);
  return row - in_head + 2 * (in_head % (head_dim / 2)) + half;
}

Status write_weights(const std::filesystem::path& path, const std::vector<WeightPlan>& plan,
                     Dtype dtype, const ImportCallback& progress) {
  std::map<std::string_view, const WeightPlan*> by_name;
  std::vector<TensorSpec> specs;
  for (const WeightPlan& weight : plan) {
    by_name.emplace(weight.name, &weight);
    specs.push_back({weight.name, dtype, weight.source->shape});
  }
  auto writer = SafetensorsWriter::create(path, specs, {{"format", "pt"}});
  if (!writer) return fail(writer.error());
  size_t done = 0;
  for (const TensorSpec& spec : writer->order()) {
    if (progress) progress({done++, plan.size(), spec.name});
    if (Status ok = RowWriter(*writer, *by_name.at(spec.name), dtype).write_all(); !ok) return ok;
  }
  if (Status ok = writer->finish(); !ok) return ok;
  if (progress) progress({plan.size(), plan.size(), ""});
  return {};
}

}  // namespace tunefleet::storage
