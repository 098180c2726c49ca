#include "worker/models/model_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tunefleet::models {
namespace {

class ModelConfigTest : public testing::Test {
 protected:
  ModelConfigTest() {
    std::string name =
        (std::filesystem::temp_directory_path() / "tunefleet-config-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~ModelConfigTest() override { std::filesystem::remove_all(directory_); }

  Result<ModelConfig> load(const std::string& members, const std::string& type = "llama") {
    std::ofstream(directory_ / "config.json")
        << R"({"model_type": ")" << type
        << R"(", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128,)"
        << R"( "num_hidden_layers": 4, "num_attention_heads": 8)" << (members.empty() ? "" : ", ")
        << members << "}";
    return load_model_config(directory_);
  }
  std::string error(const std::string& members, const std::string& type = "llama") {
    const auto config = load(members, type);
    return config ? "" : config.error().message;
  }

  std::filesystem::path directory_;
};

TEST_F(ModelConfigTest, DefaultsFollowTheFamily) {
  const auto llama = load("");
  ASSERT_TRUE(llama) << llama.error().message;
  EXPECT_EQ(llama->head_dim, 8);
  EXPECT_EQ(llama->num_key_value_heads, 8);
  EXPECT_FALSE(llama->qkv_bias);
  EXPECT_TRUE(load("", "qwen2")->qkv_bias);
  EXPECT_FALSE(load("", "qwen2")->output_bias);
  EXPECT_TRUE(load("", "qwen3")->qk_norm);
}

TEST_F(ModelConfigTest, ReadsBothSpellingsOfRope) {
  const auto older =
      load(R"("rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0})");
  const auto newer =
      load(R"("rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0})");
  for (const auto& config : {older, newer}) {
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->rope_theta, 5e5);
    EXPECT_EQ(config->rope_scaling.type, "linear");
    EXPECT_EQ(config->rope_scaling.factor, 2.0);
  }
}

TEST_F(ModelConfigTest, SlidingWindowsAsEachFamilySaysThem) {
  using Windows = std::vector<int64_t>;
  EXPECT_EQ(load(R"("sliding_window": 32)", "mistral")->sliding_windows, Windows({32, 32, 32, 32}));
  EXPECT_EQ(load(R"("sliding_window": null)", "mistral")->sliding_windows, Windows({0, 0, 0, 0}));
  EXPECT_EQ(load(R"("sliding_window": 32)", "qwen2")->sliding_windows, Windows({0, 0, 0, 0}));
  EXPECT_EQ(
      load(R"("sliding_window": 32, "use_sliding_window": true, "max_window_layers": 3)", "qwen2")
          ->sliding_windows,
      Windows({0, 0, 0, 32}));
}

TEST_F(ModelConfigTest, ErrorsNameFileAndKey) {
  EXPECT_NE(error("", "gpt2").find("model_type is not llama"), std::string::npos);
  EXPECT_NE(error(R"("hidden_act": "gelu")").find("hidden_act is not silu: gelu"),
            std::string::npos);
  EXPECT_NE(error(R"("head_dim": "wide")").find("wrong type of head_dim"), std::string::npos);
  EXPECT_NE(error(R"("head_dim": 7)").find("head_dim is odd"), std::string::npos);
  EXPECT_NE(error(R"("num_key_value_heads": 3)").find("not a multiple"), std::string::npos);
  EXPECT_NE(error(R"("num_key_value_heads": 0)").find("out of range: num_key_value_heads"),
            std::string::npos);
  EXPECT_NE(error(R"("rope_scaling": {"type": "dynamic"})").find("rope scaling type"),
            std::string::npos);
  std::ofstream(directory_ / "config.json") << "{ not json";
  EXPECT_NE(load_model_config(directory_).error().message.find("config.json"), std::string::npos);
  std::filesystem::remove(directory_ / "config.json");
  EXPECT_EQ(load_model_config(directory_).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace tunefleet::models
