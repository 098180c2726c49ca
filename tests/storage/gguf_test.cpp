#include "storage/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "storage/gguf_dequant.h"
#include "storage/safetensors.h"
#include "tests/storage/gguf_builder.h"
#include "tests/storage/mutations.h"
#include "tests/storage/scratch.h"

namespace tunefleet::storage {
namespace {

using testing::HasSubstr;

constexpr const char* kBlocks = "tests/storage/data/blocks.gguf";
constexpr size_t kHeaderBytes = 1000;  // about what comes before its first tensor

Result<GgufFile> parse(const std::string& content) {
  const Scratch scratch;
  spill(scratch / "x.gguf", content);
  return GgufFile::open(scratch / "x.gguf");  // stays mapped after the unlink
}

std::string message_of(const GgufBuilder& builder) {
  const auto file = parse(builder.build());
  return file ? "no error" : file.error().message;
}

/// Dequantises every tensor that is of a known type and small.
void read_everything(const GgufFile& file) {
  std::vector<float> values;
  for (const GgufTensor& tensor : file.tensors()) {
    if (!can_dequantize(tensor.type)) continue;
    values.resize(static_cast<size_t>(tensor.elements()));
    ASSERT_TRUE(dequantize(tensor.type, {tensor.data, tensor.bytes}, values)) << tensor.name;
  }
}

class GgufTypeTest : public testing::TestWithParam<const char*> {};
TEST_P(GgufTypeTest, DequantisesBitForBitAsTheGgufPackage) {
  const auto file = GgufFile::open(kBlocks);
  const auto expected_file = SafetensorsFile::open("tests/storage/data/blocks.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(expected_file) << expected_file.error().message;
  const GgufTensor* tensor = file->find_tensor(GetParam());
  const TensorView* expected = expected_file->find(GetParam());
  ASSERT_TRUE(tensor != nullptr && expected != nullptr);
  EXPECT_EQ(ggml_type_traits(tensor->type)->name, GetParam());
  EXPECT_EQ(tensor->shape, expected->shape);
  std::vector<float> values(static_cast<size_t>(tensor->elements()));
  ASSERT_TRUE(dequantize(tensor->type, {tensor->data, tensor->bytes}, values));
  for (size_t i = 0; i < values.size(); ++i) {
    float value = 0;
    std::memcpy(&value, expected->data + i * sizeof value, sizeof value);
    ASSERT_EQ(values[i], value) << "element " << i;
  }
  EXPECT_EQ(std::memcmp(values.data(), expected->data, expected->bytes), 0) << "signs of zeros";
}
INSTANTIATE_TEST_SUITE_P(All, GgufTypeTest,
                         testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0",
                                         "Q5_1", "Q4_K", "Q5_K", "Q6_K"));

TEST(Gguf, ReadsMetadataOfEveryType) {
  const auto file = GgufFile::open(kBlocks);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->find("test.u8")->as_unsigned(), 200u);
  EXPECT_EQ(file->find("test.i8")->as_double(), -100.0);
  EXPECT_EQ(file->find("test.i8")->as_unsigned(), std::nullopt);
  EXPECT_EQ(file->find("test.u16")->as_unsigned(), 60000u);
  EXPECT_EQ(file->find("test.i16")->as_double(), -30000.0);
  EXPECT_EQ(file->find("test.u32")->as_unsigned(), 4'000'000'000u);
  EXPECT_EQ(file->find("test.i32")->as_double(), -2e9);
  EXPECT_EQ(file->find("test.f32")->as_double(), 0.5);
  EXPECT_EQ(file->find("test.bool")->as_bool(), true);
  EXPECT_EQ(file->find("test.text")->as_text(), "zażółć");
  EXPECT_EQ(file->find("test.u64")->as_unsigned(), (uint64_t{1} << 63) + 1);
  EXPECT_EQ(file->find("test.i64")->as_double(), -0x1p62);
  EXPECT_EQ(file->find("test.f64")->as_double(), 1e300);
  EXPECT_EQ(file->find("test.numbers")->as_array()->size(), 3u);
  EXPECT_EQ(file->find("test.texts")->as_array()->at(2).as_text(), "ł");
  EXPECT_EQ(file->find("absent"), nullptr);
}

TEST(Gguf, ReadsVersion2AndAnEmptyFile) {
  EXPECT_EQ(parse(GgufBuilder(2).u32("a", 7).build())->find("a")->as_unsigned(), 7u);
  EXPECT_TRUE(parse(GgufBuilder().build())->tensors().empty());
}

TEST(Gguf, RefusesOtherFilesAndVersions) {
  EXPECT_FALSE(parse(""));
  EXPECT_THAT(parse("GGML" + std::string(20, '\0')).error().message, HasSubstr("not a GGUF file"));
  EXPECT_THAT(message_of(GgufBuilder(1)), HasSubstr("version"));
  EXPECT_THAT(message_of(GgufBuilder(4)), HasSubstr("version"));
  EXPECT_THAT(message_of(GgufBuilder(__builtin_bswap32(3))), HasSubstr("big-endian"));
}

TEST(Gguf, RefusesMetadataThatLies) {
  EXPECT_THAT(message_of(GgufBuilder().begin_array("a", 4, 1ull << 60)), HasSubstr("cut short"));
  EXPECT_THAT(message_of(GgufBuilder().begin_array("a", 9, UINT64_MAX)), HasSubstr("cut short"));
  EXPECT_THAT(message_of(GgufBuilder().number("a", 13, 1)), HasSubstr("unknown type"));
  EXPECT_THAT(message_of(GgufBuilder().u32("a", 1).u32("a", 2)), HasSubstr("twice: a"));
  EXPECT_THAT(message_of(GgufBuilder().u32("general.alignment", 24)), HasSubstr("power of two"));
  EXPECT_THAT(message_of(GgufBuilder().u32("general.alignment", 0)), HasSubstr("power of two"));
  GgufBuilder deep;
  deep.begin_array("a", 9, 1);
  for (int i = 0; i < 100; ++i) deep.raw_metadata(std::string("\x09\0\0\0\x01\0\0\0\0\0\0\0", 12));
  EXPECT_THAT(message_of(deep), HasSubstr("nested too deeply"));
  GgufBuilder many;
  many.begin_array("a", 0, GgufFile::kMaxArrayElements + 1);
  many.raw_metadata(std::string(GgufFile::kMaxArrayElements + 1, 'x'));
  EXPECT_THAT(message_of(many), HasSubstr("too many elements"));
}

TEST(Gguf, RefusesTensorsThatDoNotFit) {
  const std::string four(16, 'x');
  EXPECT_EQ(message_of(GgufBuilder().tensor("t", {4}, 0, four)), "no error");
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {5}, 0, four)), HasSubstr("past the file"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {4}, 0, four, 32)), HasSubstr("past the file"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {1}, 0, four, 4)), HasSubstr("not aligned"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {1}, 0, four, ~31ull)),
              HasSubstr("past the file"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {33}, 2, four)),
              HasSubstr("does not fit its type"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {1ull << 40, 1ull << 40}, 0, four)),
              HasSubstr("does not fit its type"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {UINT64_MAX}, 0, four)),
              HasSubstr("does not fit"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {1, 1, 1, 1, 1}, 0, four)),
              HasSubstr("too many"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {4}, 4, four)), HasSubstr("unknown type: t, 4"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {4}, 0, four).tensor("t", {4}, 0, four)),
              HasSubstr("twice: t"));
  EXPECT_THAT(message_of(GgufBuilder().tensor("t", {4}, 0, four).tensor("u", {4}, 0, four, 0)),
              HasSubstr("overlap"));
}

TEST(Dequantize, RefusesUnknownTypesAndPartialBlocks) {
  std::vector<float> values(32);
  const std::vector<std::byte> bytes(84);
  EXPECT_THAT(dequantize(10, bytes, values).error().message, HasSubstr("Q4_1"));
  EXPECT_FALSE(dequantize(999, bytes, values));
  EXPECT_FALSE(dequantize(8, std::span(bytes).first(33), values));
  EXPECT_FALSE(dequantize(8, std::span(bytes).first(34), std::span(values).first(31)));
  EXPECT_TRUE(dequantize(8, std::span(bytes).first(34), values));
  EXPECT_TRUE(dequantize(8, {}, {}));
}

TEST(Gguf, EveryTruncationIsAnError) {
  const std::string content = slurp(kBlocks);
  for_each_truncation(content, [&](const std::string& altered) {
    if (content.size() - altered.size() < 32) return;  // what follows the last block is padding
    ASSERT_FALSE(parse(altered)) << altered.size() << " bytes";
  });
}

TEST(Gguf, BitFlipsAreAnErrorOrAValidFile) {
  const std::string content = slurp(kBlocks);
  for (const size_t span : {kHeaderBytes, content.size()}) {
    for_each_bit_flip(content, span, 1500, 2, [](const std::string& altered) {
      const auto file = parse(altered);
      if (file) {
        read_everything(*file);
      } else {
        ASSERT_FALSE(file.error().message.empty());
      }
    });
  }
}

}  // namespace
}  // namespace tunefleet::storage
