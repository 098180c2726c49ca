#include "storage/sharded_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/storage/scratch.h"

namespace tunefleet::storage {
namespace {

using testing::HasSubstr;

void write_shard(const std::filesystem::path& path, const std::vector<std::string>& names) {
  std::vector<TensorView> tensors;
  static const std::vector<std::byte> bytes(8);
  for (const auto& name : names) tensors.push_back({{name, Dtype::kF32, {2}}, bytes.data(), 8});
  ASSERT_TRUE(write_safetensors(path, tensors, {}));
}

constexpr const char* kIndex = "model.safetensors.index.json";

TEST(ShardedModel, ASingleFileIsAModel) {
  const Scratch scratch;
  write_shard(scratch / "model.safetensors", {"a", "b"});
  const auto model = ShardedModel::open(scratch.path());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_NE(model->find("b"), nullptr);
  EXPECT_EQ(model->find("c"), nullptr);
  EXPECT_EQ(model->total_bytes(), 16u);
}

TEST(ShardedModel, FindsTensorsInTheirShardsAfterAMove) {
  const Scratch scratch;
  write_shard(scratch / "1.safetensors", {"a", "b"});
  write_shard(scratch / "2.safetensors", {"c"});
  spill(scratch / kIndex,
        R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})");
  auto opened = ShardedModel::open(scratch.path());
  ASSERT_TRUE(opened) << opened.error().message;
  const ShardedModel model = std::move(*opened);
  ASSERT_NE(model.find("c"), nullptr);
  EXPECT_EQ(model.find("c")->name, "c");
  EXPECT_EQ(model.tensors().size(), 3u);
  EXPECT_EQ(model.shards().size(), 2u);
  EXPECT_EQ(weight_files(scratch.path()).value(),
            (std::vector<std::string>{"1.safetensors", "2.safetensors"}));
}

TEST(ShardedModel, SaysWhichShardOrTensorIsMissing) {
  const Scratch scratch;
  spill(scratch / kIndex, R"({"weight_map":{"a":"1.safetensors","z":"1.safetensors"}})");
  EXPECT_EQ(ShardedModel::open(scratch.path()).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(ShardedModel::open(scratch.path()).error().message, HasSubstr("1.safetensors"));
  write_shard(scratch / "1.safetensors", {"a"});
  const auto error = ShardedModel::open(scratch.path()).error();
  EXPECT_EQ(error.code, ErrorCode::kDataLoss);
  EXPECT_THAT(error.message, HasSubstr("does not hold: z"));
}

TEST(ShardedModel, RefusesTwoShardsWithTheSameTensor) {
  const Scratch scratch;
  write_shard(scratch / "1.safetensors", {"a"});
  write_shard(scratch / "2.safetensors", {"a", "b"});
  spill(scratch / kIndex, R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  EXPECT_THAT(ShardedModel::open(scratch.path()).error().message, HasSubstr("same tensor: a"));
}

class ShardedModelIndexTest : public testing::TestWithParam<const char*> {};
TEST_P(ShardedModelIndexTest, AnIndexThatIsNotWellFormedIsRefused) {
  const Scratch scratch;
  spill(scratch / kIndex, GetParam());
  const auto model = ShardedModel::open(scratch.path());
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message, HasSubstr("index of the weights is not well-formed"));
}
INSTANTIATE_TEST_SUITE_P(All, ShardedModelIndexTest,
                         testing::Values("", "[]", "{}", R"({"weight_map":[]})",
                                         R"({"weight_map":{}})", R"({"weight_map":{"a":1}})",
                                         R"({"weight_map":{"a":"../x.safetensors"}})",
                                         R"({"weight_map":{"a":"/etc/passwd"}})",
                                         R"({"weight_map":{"a":".."}})",
                                         R"({"weight_map":{"a":"x\u0000y"}})"));

TEST(ShardedModel, NeverOpensPickledWeights) {
  const Scratch scratch;
  EXPECT_EQ(ShardedModel::open(scratch.path()).error().code, ErrorCode::kNotFound);
  spill(scratch / "pytorch_model.bin", "x");
  EXPECT_THAT(ShardedModel::open(scratch.path()).error().message, HasSubstr("pickled"));
}

}  // namespace
}  // namespace tunefleet::storage
