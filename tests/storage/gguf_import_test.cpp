#include "storage/gguf_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "storage/gguf_tokenizer.h"
#include "storage/gguf_weights.h"
#include "storage/safetensors.h"
#include "tests/storage/gguf_builder.h"
#include "tests/storage/mutations.h"
#include "tests/storage/scratch.h"

namespace tunefleet::storage {
namespace {

using nlohmann::json;
using testing::HasSubstr;

/// A model of one layer: hidden 8, 2 heads of 4, 1 KV head, ffn 4, 7 tokens.
struct Tiny {
  std::string arch = "llama";
  std::string name = "tiny";
  std::string pre = "smollm";
  std::string tokenizer_model = "gpt2";
  std::string missing = {};  ///< A tensor to leave out.
  std::vector<std::string> tokens{"<|end|>", "a", "b", "ab", "<user>", "Ġ", "[PAD6]"};
  std::vector<int32_t> types{3, 1, 1, 1, 4, 1, 5};
  std::vector<std::string> merges{"a b"};
  uint32_t eos = 0;
  uint32_t heads = 2;
  bool head = false;  ///< With output.weight.
  bool biases = false;
  bool qk_norm = false;
  bool add_bos = false;
  float rope_theta = 10000;
  std::vector<float> rope_factors = {};
  std::string extra = {};  ///< Name of a tensor that no architecture has.
};

/// `count` numbers from `first` on.
std::vector<float> ramp(size_t count, float first) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = first + static_cast<float>(i);
  return values;
}

void add_metadata(GgufBuilder& file, const Tiny& tiny) {
  const std::string prefix = tiny.arch + ".";
  file.text("general.architecture", tiny.arch).text("general.name", tiny.name);
  file.u32(prefix + "block_count", 1).u32(prefix + "context_length", 64);
  file.u32(prefix + "embedding_length", 8).u32(prefix + "feed_forward_length", 4);
  file.u32(prefix + "attention.head_count", tiny.heads).u32(prefix + "attention.head_count_kv", 1);
  file.u32(prefix + "attention.key_length", 4);
  file.f32(prefix + "attention.layer_norm_rms_epsilon", 1e-5f)
      .f32(prefix + "rope.freq_base", tiny.rope_theta);
  file.text("tokenizer.ggml.model", tiny.tokenizer_model).text("tokenizer.ggml.pre", tiny.pre);
  file.texts("tokenizer.ggml.tokens", tiny.tokens).i32s("tokenizer.ggml.token_type", tiny.types);
  file.texts("tokenizer.ggml.merges", tiny.merges).u32("tokenizer.ggml.eos_token_id", tiny.eos);
  file.u32("tokenizer.ggml.bos_token_id", 0).boolean("tokenizer.ggml.add_bos_token", tiny.add_bos);
  file.u32("tokenizer.ggml.eot_token_id", 4).text("tokenizer.chat_template", "{{ messages }}");
}

std::string build(const Tiny& tiny) {
  GgufBuilder file;
  add_metadata(file, tiny);
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& shape, float first) {
    size_t count = 1;
    for (const uint64_t dimension : shape) count *= dimension;
    if (name != tiny.missing) file.floats(name, shape, ramp(count, first));
  };
  add("token_embd.weight", {7, 8}, 0);
  add("output_norm.weight", {8}, 0);
  if (tiny.head) add("output.weight", {7, 8}, 0.5f);
  add("blk.0.attn_norm.weight", {8}, 0);
  add("blk.0.attn_q.weight", {8, 8}, 0);
  add("blk.0.attn_k.weight", {4, 8}, 0);
  add("blk.0.attn_v.weight", {4, 8}, 0);
  add("blk.0.attn_output.weight", {8, 8}, 0);
  if (tiny.biases) add("blk.0.attn_q.bias", {8}, 0);
  if (tiny.qk_norm) add("blk.0.attn_q_norm.weight", {4}, 0);
  if (tiny.qk_norm) add("blk.0.attn_k_norm.weight", {4}, 0);
  add("blk.0.ffn_norm.weight", {8}, 0);
  add("blk.0.ffn_gate.weight", {4, 8}, 0);
  add("blk.0.ffn_up.weight", {4, 8}, 0);
  add("blk.0.ffn_down.weight", {8, 4}, 0);
  if (!tiny.rope_factors.empty()) {
    file.floats("rope_freqs.weight", {tiny.rope_factors.size()}, tiny.rope_factors);
  }
  if (!tiny.extra.empty()) add(tiny.extra, {4}, 0);
  return file.build();
}

class GgufImportTest : public testing::Test {
 protected:
  Result<ImportReport> import(const std::string& content, const ImportOptions& options = {},
                              const ImportCallback& progress = nullptr) {
    spill(scratch_ / "in.gguf", content);
    return import_gguf(scratch_ / "in.gguf", scratch_ / "out", options, progress);
  }
  Result<ImportReport> import(const Tiny& tiny, const ImportOptions& options = {}) {
    return import(build(tiny), options);
  }
  std::string message_of(const Tiny& tiny) {
    const auto report = import(tiny);
    EXPECT_FALSE(std::filesystem::exists(scratch_ / "out"));
    return report ? "no error" : report.error().message;
  }
  json file(const char* name) const { return json::parse(slurp(scratch_ / "out" / name)); }
  std::vector<float> tensor(const std::string& name) const {
    const auto weights = SafetensorsFile::open(scratch_ / "out/model.safetensors");
    const TensorView* view = weights ? weights->find(name) : nullptr;
    if (view == nullptr) return {};
    std::vector<float> values(view->bytes / sizeof(float));
    std::memcpy(values.data(), view->data, view->bytes);
    return values;
  }

  Scratch scratch_;
};

TEST_F(GgufImportTest, MakesAHuggingFaceDirectory) {
  std::vector<std::string> seen;
  const auto report = import(build({}), {}, [&](const ImportProgress& progress) {
    seen.push_back(progress.tensor);
    EXPECT_EQ(progress.total, 11u);
  });
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->architecture, "LlamaForCausalLM");
  EXPECT_EQ(report->tensors, 11u);
  EXPECT_EQ(report->parameters, 56 + 8 + 8 + 64 + 32 + 32 + 64 + 8 + 32 + 32 + 32);
  EXPECT_TRUE(report->tied_embeddings);
  EXPECT_EQ(report->vocab_size, 7);
  EXPECT_EQ(seen.size(), 12u);
  const json config = file("config.json");
  EXPECT_EQ(config["architectures"], json({"LlamaForCausalLM"}));
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["head_dim"], 4);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(file("generation_config.json")["eos_token_id"], json({0, 4}));
  EXPECT_EQ(tensor("model.embed_tokens.weight"), ramp(56, 0));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch_.path()), {}), 2);
}

TEST_F(GgufImportTest, PutsTheRowsOfQAndKBackIntoHalves) {
  ASSERT_TRUE(import(Tiny{.biases = true}));
  const auto q = tensor("model.layers.0.self_attn.q_proj.weight");
  const auto k = tensor("model.layers.0.self_attn.k_proj.weight");
  ASSERT_EQ(q.size(), 64u);
  const std::vector<float> order{0, 2, 1, 3, 4, 6, 5, 7};  // per head: even rows, then odd ones
  for (size_t row = 0; row < 8; ++row) EXPECT_EQ(q[row * 8], order[row] * 8);
  for (size_t row = 0; row < 4; ++row) EXPECT_EQ(k[row * 8], order[row] * 8);
  EXPECT_EQ(tensor("model.layers.0.self_attn.q_proj.bias"), order);
  EXPECT_EQ(tensor("model.layers.0.self_attn.v_proj.weight"), ramp(32, 0));
  EXPECT_EQ(file("config.json")["attention_bias"], true);
}

TEST(SourceRow, IsAPermutationOfEveryHead) {
  for (const int64_t heads : {1, 2, 3, 8}) {
    const int64_t rows = heads * 6;
    std::vector<bool> hit(static_cast<size_t>(rows));
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t source = source_row(row, rows, heads);
      EXPECT_EQ(source / 6, row / 6);
      hit[static_cast<size_t>(source)] = true;
    }
    EXPECT_EQ(std::count(hit.begin(), hit.end(), true), rows);
  }
}

TEST_F(GgufImportTest, WritesBfloat16OnRequest) {
  const auto report = import(Tiny{}, {.dtype = Dtype::kBF16});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->weight_bytes, static_cast<uint64_t>(report->parameters) * 2);
  const auto weights = SafetensorsFile::open(scratch_ / "out/model.safetensors");
  const TensorView* norm = weights->find("model.norm.weight");
  ASSERT_EQ(norm->dtype, Dtype::kBF16);
  EXPECT_EQ(std::memcmp(norm->data + 2, "\x80\x3F", 2), 0);
  EXPECT_EQ(file("config.json")["torch_dtype"], "bfloat16");
  EXPECT_FALSE(import(Tiny{}, {.dtype = Dtype::kF16}));
}

TEST_F(GgufImportTest, KeepsASeparateHeadAndQwensBiasesAndNorms) {
  ASSERT_TRUE(import(Tiny{.arch = "qwen2", .pre = "qwen2", .head = true, .biases = true}));
  EXPECT_EQ(tensor("lm_head.weight"), ramp(56, 0.5f));
  EXPECT_EQ(tensor("model.layers.0.self_attn.q_proj.bias"), ramp(8, 0)) << "not permuted";
  EXPECT_EQ(file("config.json")["architectures"][0], "Qwen2ForCausalLM");
  EXPECT_EQ(file("tokenizer.json")["normalizer"]["type"], "NFC");
  std::filesystem::remove_all(scratch_ / "out");
  ASSERT_TRUE(import(Tiny{.arch = "qwen3", .pre = "qwen2", .qk_norm = true}));
  EXPECT_EQ(tensor("model.layers.0.self_attn.q_norm.weight"), ramp(4, 0));
  EXPECT_EQ(file("config.json")["model_type"], "qwen3");
  std::filesystem::remove_all(scratch_ / "out");
  ASSERT_TRUE(import(Tiny{.name = "Mistral 7B v0.3"}));
  EXPECT_EQ(file("config.json")["architectures"][0], "MistralForCausalLM");
}

TEST_F(GgufImportTest, WorksOutLlama3sRopeScaling) {
  // Two frequencies: 1 (wavelength 6, kept) and 1e-4 (wavelength 62832, divided by the whole
  // factor).
  EXPECT_THAT(message_of(Tiny{.rope_theta = 1e8f, .rope_factors = {2, 32}}),
              HasSubstr("not Llama 3's"));
  EXPECT_THAT(message_of(Tiny{.rope_factors = {1, 1, 1}}), HasSubstr("not one factor"));
  ASSERT_TRUE(import(Tiny{.rope_theta = 1e8f, .rope_factors = {1, 32}}));
  EXPECT_EQ(file("config.json")["rope_scaling"]["rope_type"], "llama3");
  EXPECT_EQ(file("config.json")["rope_scaling"]["factor"], 32.0);
  EXPECT_EQ(file("config.json")["rope_parameters"]["rope_theta"], 1e8);
}

TEST_F(GgufImportTest, WritesTheTokenizer) {
  ASSERT_TRUE(import(Tiny{.add_bos = true}));
  const json tokenizer = file("tokenizer.json");
  EXPECT_EQ(tokenizer["model"]["vocab"],
            json({{"<|end|>", 0}, {"a", 1}, {"b", 2}, {"ab", 3}, {"<user>", 4}, {"Ġ", 5}}));
  EXPECT_EQ(tokenizer["model"]["merges"], json::parse(R"([["a","b"]])"));
  EXPECT_EQ(tokenizer["added_tokens"].size(), 2u);
  EXPECT_EQ(tokenizer["added_tokens"][0]["special"], true);
  EXPECT_EQ(tokenizer["added_tokens"][1]["special"], false);
  EXPECT_EQ(tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
  EXPECT_EQ(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<|end|>");
  EXPECT_EQ(tokenizer["post_processor"]["special_tokens"]["<|end|>"]["ids"], json::parse("[0]"));
  const json config = file("tokenizer_config.json");
  EXPECT_EQ(config["eos_token"], "<|end|>");
  EXPECT_EQ(config["chat_template"], "{{ messages }}");
  EXPECT_EQ(config["model_max_length"], 64);
  EXPECT_EQ(file("special_tokens_map.json")["bos_token"], "<|end|>");
}

TEST_F(GgufImportTest, KnowsThePreTokenizersByName) {
  for (const char* pre : {"gpt-2", "default", "smollm", "llama-bpe", "qwen2"}) {
    std::filesystem::remove_all(scratch_ / "out");
    ASSERT_TRUE(import(Tiny{.pre = pre})) << pre;
    EXPECT_EQ(file("tokenizer.json")["model"]["ignore_merges"], std::string(pre) == "llama-bpe");
  }
  std::filesystem::remove_all(scratch_ / "out");
  EXPECT_THAT(message_of(Tiny{.pre = "tekken"}), HasSubstr("known: gpt-2"));
}

TEST_F(GgufImportTest, SaysWhatIsMissingOrNotSupported) {
  EXPECT_THAT(message_of({.arch = "bloom"}), HasSubstr("architecture is not supported"));
  EXPECT_THAT(message_of({.tokenizer_model = "llama"}), HasSubstr("tokenizer is not supported"));
  EXPECT_THAT(message_of({.missing = "blk.0.ffn_up.weight"}), HasSubstr("lacks a tensor"));
  EXPECT_THAT(message_of({.missing = "token_embd.weight"}), HasSubstr("token_embd.weight"));
  EXPECT_THAT(message_of({.heads = 4}), HasSubstr("attn_q.weight, [8, 8] != [16, 8]"));
  EXPECT_THAT(message_of({.heads = 0}), HasSubstr("out of range"));
  EXPECT_THAT(message_of({.extra = "blk.0.ssm_a"}), HasSubstr("its architecture does not"));
  EXPECT_THAT(message_of({.eos = 7}), HasSubstr("past the end"));
  EXPECT_THAT(message_of({.tokens = {"a"}}), HasSubstr("as many types as tokens"));
  EXPECT_THAT(message_of({.merges = {"a Ġ"}}), HasSubstr("not of tokens"));
  EXPECT_THAT(message_of({.merges = {"ab"}}), HasSubstr("no pair"));
  EXPECT_THAT(message_of({.tokens = {"\xFF", "a", "b", "ab", "c", "d", "e"}}),
              HasSubstr("not UTF-8"));
  EXPECT_THAT(message_of({.tokens = {"a", "a", "b", "ab", "c", "d", "e"}}),
              HasSubstr("stands twice"));
}

TEST_F(GgufImportTest, NeverWritesOverADirectoryThatHoldsSomething) {
  spill(scratch_ / "out/precious", "x");
  EXPECT_EQ(import(Tiny{}).error().code, ErrorCode::kConflict);
  EXPECT_EQ(slurp(scratch_ / "out/precious"), "x");
  std::filesystem::remove(scratch_ / "out/precious");
  EXPECT_TRUE(import(Tiny{}));
}

TEST_F(GgufImportTest, DamagedFilesAreErrorsOrModels) {
  const std::string content = build(Tiny{.add_bos = true, .rope_factors = {1, 1}});
  for_each_bit_flip(content, content.size() - 1500, 1000, 3, [&](const std::string& altered) {
    spill(scratch_ / "in.gguf", altered);
    const auto file = GgufFile::open(scratch_ / "in.gguf");
    if (!file) return;
    const auto model = read_model_config(*file, Dtype::kF32);
    if (model) (void)plan_weights(*file, *model);
    (void)make_tokenizer_files(*file);
  });
}

}  // namespace
}  // namespace tunefleet::storage
