#include "storage/model_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "storage/safetensors.h"
#include "tests/storage/scratch.h"

namespace tunefleet::storage {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ModelStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    add_model("SmolLM2-135M-Instruct");
    add_model("qwen2.5-0.5b");
  }
  void add_model(const std::string& name) {
    spill(models_ / name / "config.json", R"({"architectures":["LlamaForCausalLM"]})");
    static const std::vector<std::byte> bytes(16);
    ASSERT_TRUE(write_safetensors(models_ / name / "model.safetensors",
                                  {{{"a", Dtype::kF32, {4}}, bytes.data(), 16}}, {}));
  }
  Result<fs::path> resolve(std::string_view name, ModelPaths paths = ModelPaths::kNamesOnly) {
    return resolve_model(models_, name, paths);
  }

  Scratch scratch_;
  fs::path models_ = scratch_ / "models";
};

TEST_F(ModelStoreTest, ListsModelsByNameAndPassesOverTheRest) {
  fs::create_directories(models_ / "no-config");
  spill(models_ / "no-weights/config.json", "{}");
  spill(models_ / ".hidden/config.json", "{}");
  spill(models_ / "a-file", "x");
  const auto models = list_models(models_);
  ASSERT_TRUE(models) << models.error().message;
  ASSERT_EQ(models->size(), 2u);
  EXPECT_EQ((*models)[0].name, "SmolLM2-135M-Instruct");
  EXPECT_EQ((*models)[0].architecture, "LlamaForCausalLM");
  EXPECT_EQ((*models)[0].weight_bytes, fs::file_size((*models)[0].path / "model.safetensors"));
  EXPECT_GT((*models)[0].modified_ms, 1'600'000'000'000);
  EXPECT_TRUE(list_models(scratch_ / "absent")->empty());
}

TEST_F(ModelStoreTest, AnUnknownNameIsAnsweredWithTheNearest) {
  EXPECT_EQ(resolve("qwen2.5-0.5b").value(), models_ / "qwen2.5-0.5b");
  const auto error = resolve("qwen2-0.5b").error();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_THAT(error.message, HasSubstr("nearest: qwen2.5-0.5b, SmolLM2"));
  EXPECT_THAT(resolve_model(scratch_ / "absent", "x", ModelPaths::kNamesOnly).error().message,
              HasSubstr("there are none"));
}

TEST_F(ModelStoreTest, ANameNeverLeadsOutOfTheModelsDirectory) {
  spill(scratch_ / "secret/config.json", "{}");
  const std::string with_nul("a\0b", 3);
  for (const std::string_view name :
       {std::string_view("../secret"), std::string_view(".."), std::string_view("."),
        std::string_view(""), std::string_view("/etc"), std::string_view("a/../../secret"),
        std::string_view("a\\b"), std::string_view("x y"), std::string_view(".hidden"),
        std::string_view(with_nul), std::string_view("żółć")}) {
    const auto path = resolve(name);
    ASSERT_FALSE(path) << name;
    EXPECT_EQ(path.error().code, ErrorCode::kInvalidArgument) << name;
  }
  EXPECT_FALSE(resolve(std::string(10'000, 'a')));
}

TEST_F(ModelStoreTest, PathsAreAcceptedWhereTheyAreAllowed) {
  const fs::path model = models_ / "qwen2.5-0.5b";
  EXPECT_EQ(resolve(model.string(), ModelPaths::kPathsAllowed).value(), fs::canonical(model));
  EXPECT_FALSE(resolve(model.string()));
  spill(scratch_ / "m.gguf", "x");
  EXPECT_TRUE(resolve((scratch_ / "m.gguf").string(), ModelPaths::kPathsAllowed));
  EXPECT_TRUE(resolve("qwen2.5-0.5b", ModelPaths::kPathsAllowed));
  EXPECT_EQ(resolve(scratch_.path().string(), ModelPaths::kPathsAllowed).error().code,
            ErrorCode::kNotFound);
  EXPECT_FALSE(resolve(std::string_view("a\0b", 3), ModelPaths::kPathsAllowed));
}

TEST_F(ModelStoreTest, TheDigestFollowsTheContent) {
  const fs::path model = models_ / "qwen2.5-0.5b";
  const std::string digest = model_digest(model).value();
  EXPECT_EQ(digest.size(), 64u);
  EXPECT_EQ(model_digest(models_ / "SmolLM2-135M-Instruct").value(), digest) << "same content";
  EXPECT_EQ(model_digest(model).value(), digest);
  spill(model / "config.json", R"({"architectures":["Qwen2ForCausalLM"]})");
  EXPECT_NE(model_digest(model).value(), digest);
  EXPECT_FALSE(model_digest(scratch_ / "absent"));
}

TEST_F(ModelStoreTest, UnchangedFilesAreNotReadAgain) {
  const fs::path model = models_ / "qwen2.5-0.5b";
  const std::string digest = model_digest(model).value();
  const fs::path weights = model / "model.safetensors";
  const auto modified = fs::last_write_time(weights);
  std::string content = slurp(weights);
  content.back() = 'x';
  spill(weights, content);
  fs::last_write_time(weights, modified);
  EXPECT_EQ(model_digest(model).value(), digest) << "size and time are the same";
  fs::last_write_time(weights, modified + std::chrono::seconds(1));
  EXPECT_NE(model_digest(model).value(), digest);
  spill(model / ".digest.json", "damaged");
  EXPECT_NE(model_digest(model).value(), digest);
}

}  // namespace
}  // namespace tunefleet::storage
