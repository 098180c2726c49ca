#include "tuners/config/trainable_count.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "proto/job_spec_parser.h"
#include "storage/safetensors.h"
#include "tuners/config/job_options.h"

namespace tunefleet::tuners {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// config.json of SmolLM2-135M-Instruct, what counts of it.
constexpr const char* kSmolLm2 = R"({"model_type": "llama", "hidden_size": 576,
  "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
  "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152, "tie_word_embeddings": true,
  "max_position_embeddings": 8192})";

/// Its parameters, in no order that helps.
std::vector<ParameterShape> smol_lm2_parameters() {
  std::vector<ParameterShape> parameters{{"model.norm.weight", {576}}};
  for (int64_t layer = 29; layer >= 0; --layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
             {"input_layernorm", {576}},
             {"post_attention_layernorm", {576}},
             {"mlp.down_proj", {576, 1536}},
             {"mlp.up_proj", {1536, 576}},
             {"mlp.gate_proj", {1536, 576}},
             {"self_attn.o_proj", {576, 576}},
             {"self_attn.q_proj", {576, 576}},
             {"self_attn.k_proj", {192, 576}},
             {"self_attn.v_proj", {192, 576}}})
      parameters.push_back({at + name + ".weight", shape});
  }
  parameters.push_back({"model.embed_tokens.weight", {49152, 576}});
  return parameters;
}

ModelShapes smol_lm2() {
  auto shapes = model_shapes_of(kSmolLm2, smol_lm2_parameters(), "float32");
  if (!shapes) ADD_FAILURE() << shapes.error().message;
  return shapes ? *std::move(shapes) : ModelShapes{};
}

JobSpec job_of(json keys) {
  keys["model"] = "m";
  keys["dataset"] = json::array({"d"});
  auto parsed = parse_job_json(keys, check_tuners);
  for (const auto& problem : parsed.problems) ADD_FAILURE() << to_string(problem);
  return parsed.spec;
}

/// Of all tuners together; -1 when one is not known.
int64_t total(const json& keys) {
  const auto counts = count_trainable(job_of(keys), smol_lm2());
  if (!counts) {
    ADD_FAILURE() << counts.error().message;
    return -1;
  }
  int64_t sum = 0;
  for (const auto& count : *counts) {
    if (!count.numbers) return -1;
    sum += *count.numbers;
  }
  return sum;
}

TEST(TrainableCount, IsWhatTheTrainerReportedForEveryRecordedJob) {
  std::ifstream file("tests/tuners/trainable_counts.json");
  const json record = json::parse(file);
  ASSERT_GE(record.size(), 30U);
  for (const auto& each : record)
    EXPECT_EQ(total(each.at("job")), each.at("trainable").get<int64_t>()) << each.at("job");
}

TEST(TrainableCount, NamesTunersOneByOne) {
  const auto counts = count_trainable(
      job_of({{"tuners", {{"a", {{"type", "lora"}, {"r", 4}}}, {"b", {{"type", "ia3"}}}}}}),
      smol_lm2());
  ASSERT_TRUE(counts) << counts.error().message;
  ASSERT_THAT(*counts, SizeIs(2));
  EXPECT_EQ(counts->at(0).name, "a");
  EXPECT_EQ(counts->at(0).numbers, 1'221'120);
  EXPECT_EQ(counts->at(1).type, "ia3");
}

TEST(TrainableCount, SaysWhatOnlyTheTrainerKnows) {
  const auto counts = count_trainable(
      job_of({{"tuners", {{"p", {{"type", "part"}, {"target_modules", {"norm"}}}}}}}), smol_lm2());
  ASSERT_TRUE(counts) << counts.error().message;
  EXPECT_FALSE(counts->at(0).numbers);
  EXPECT_THAT(counts->at(0).unknown, HasSubstr("part"));
  JobSpec goes_on = job_of({{"tuner_type", "lora"}});
  goes_on.adapters = {"ft:m:admin::x"};
  const auto more = count_trainable(goes_on, smol_lm2());
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_FALSE(more->at(0).numbers);
}

TEST(TrainableCount, RefusesWhatTheTrainerWouldRefuse) {
  const auto error_of = [](const json& keys) {
    const auto counts = count_trainable(job_of(keys), smol_lm2());
    return counts ? std::string() : counts.error().message;
  };
  EXPECT_THAT(error_of({{"target_modules", {"q_porj"}}}), HasSubstr("q_proj"));
  EXPECT_THAT(error_of({{"lora_rank", 300}}), HasSubstr("k_proj"));
  EXPECT_THAT(error_of({{"tuners", {{"c", {{"type", "c3a"}, {"block_size", 100}}}}}}),
              HasSubstr("block_size"));
}

TEST(ModelShapes, AreReadFromTheHeadersInTheModelsOrder) {
  const auto directory = std::filesystem::temp_directory_path() / "tunefleet-model-shapes";
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "config.json") << R"({"model_type": "qwen2", "hidden_size": 4,
    "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2,
    "vocab_size": 8, "max_position_embeddings": 32, "tie_word_embeddings": false})";
  const std::vector<std::byte> zeros(1024);
  const auto view = [&](const std::string& name, std::vector<int64_t> shape, size_t bytes) {
    storage::TensorView tensor;
    tensor.name = name;
    tensor.dtype = storage::Dtype::kBF16;
    tensor.shape = std::move(shape);
    tensor.data = zeros.data();
    tensor.bytes = bytes;
    return tensor;
  };
  ASSERT_TRUE(storage::write_safetensors(
      directory / "model.safetensors",
      {view("lm_head.weight", {8, 4}, 64), view("model.norm.weight", {4}, 8),
       view("model.layers.0.self_attn.q_proj.bias", {4}, 8),
       view("model.layers.0.self_attn.q_proj.weight", {4, 4}, 32),
       view("model.embed_tokens.weight", {8, 4}, 64)},
      {}));
  const auto shapes = read_model_shapes(directory);
  std::filesystem::remove_all(directory);
  ASSERT_TRUE(shapes) << shapes.error().message;
  std::vector<std::string> paths;
  for (const auto& parameter : shapes->parameters) paths.push_back(parameter.path);
  EXPECT_THAT(paths, ::testing::ElementsAre("model.embed_tokens.weight",
                                            "model.layers.0.self_attn.q_proj.weight",
                                            "model.layers.0.self_attn.q_proj.bias",
                                            "model.norm.weight", "lm_head.weight"));
  EXPECT_EQ(shapes->dtype, "bfloat16");
  EXPECT_FALSE(shapes->tied);
  EXPECT_EQ(shapes->head_dim, 2);
  EXPECT_EQ(shapes->parameter_count(), 32 + 16 + 4 + 4 + 32);
}

TEST(ModelShapes, RefuseAConfigWithoutSizes) {
  const auto shapes = model_shapes_of(R"({"hidden_size": 4})", {}, "float32");
  ASSERT_FALSE(shapes);
  EXPECT_THAT(shapes.error().message, HasSubstr("intermediate_size"));
}

}  // namespace
}  // namespace tunefleet::tuners
