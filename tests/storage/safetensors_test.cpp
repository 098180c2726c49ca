#include "storage/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "storage/sha256.h"
#include "tests/storage/mutations.h"
#include "tests/storage/scratch.h"

namespace tunefleet::storage {
namespace {

using testing::HasSubstr;

std::string file_of(std::string header, std::string_view data, uint64_t claimed = UINT64_MAX) {
  const uint64_t size = claimed == UINT64_MAX ? header.size() : claimed;
  std::string content(8, '\0');
  std::memcpy(content.data(), &size, 8);
  return content + header + std::string(data);
}

/// Opens `content` as a file.
Result<SafetensorsFile> parse(const std::string& content) {
  const Scratch scratch;
  spill(scratch / "x.safetensors", content);
  return SafetensorsFile::open(scratch / "x.safetensors");  // stays mapped after the unlink
}

std::string message_of(const std::string& content) {
  const auto file = parse(content);
  return file ? "no error" : file.error().message;
}

/// All dtypes with the values 0, 1, 2, … as bytes; the same as in data/reference.safetensors.
struct Sample {
  std::vector<std::string> bytes;
  std::vector<TensorView> tensors;
};
Sample sample() {
  Sample sample;
  const std::vector<TensorSpec> specs{
      {"z.f32", Dtype::kF32, {2, 3}}, {"a.f32", Dtype::kF32, {}},
      {"h.f16", Dtype::kF16, {3}},    {"b.bf16", Dtype::kBF16, {1, 5}},
      {"i.i64", Dtype::kI64, {2}},    {"j.i32", Dtype::kI32, {1}},
      {"k.i16", Dtype::kI16, {2}},    {"l.i8", Dtype::kI8, {3}},
      {"m.u8", Dtype::kU8, {1}},      {"n.bool", Dtype::kBool, {2}},
      {"o.f64", Dtype::kF64, {1}},    {"p.empty", Dtype::kF32, {4, 0}},
      {"\"q\"/é", Dtype::kU8, {5}}};
  unsigned char next = 0;
  for (const TensorSpec& spec : specs) {
    std::string& bytes = sample.bytes.emplace_back(tensor_bytes(spec).value(), '\0');
    for (char& byte : bytes)
      byte = spec.dtype == Dtype::kBool ? 1 : static_cast<char>(next++ % 100);
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    sample.tensors.push_back({specs[i], reinterpret_cast<const std::byte*>(sample.bytes[i].data()),
                              sample.bytes[i].size()});
  }
  return sample;
}

TEST(SafetensorsWriter, WritesTheFileOfTheReferenceLibraryByteForByte) {
  const Scratch scratch;
  ASSERT_TRUE(write_safetensors(scratch / "x", sample().tensors, {{"format", "pt"}}));
  EXPECT_EQ(sha256_hex(slurp(scratch / "x")),
            sha256_hex(slurp("tests/storage/data/reference.safetensors")));
}

TEST(Safetensors, EveryDtypeSurvivesAWriteAndARead) {
  const Scratch scratch;
  const Sample expected = sample();
  ASSERT_TRUE(write_safetensors(scratch / "x", expected.tensors, {{"b", "2"}, {"a", "\n"}}));
  const auto file = SafetensorsFile::open(scratch / "x");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->metadata(), (SafetensorsMetadata{{"a", "\n"}, {"b", "2"}}));
  EXPECT_EQ(file->tensors().size(), expected.tensors.size());
  EXPECT_EQ(file->tensors().front().name, "i.i64");
  EXPECT_EQ(file->find("absent"), nullptr);
  for (const TensorView& tensor : expected.tensors) {
    const TensorView* read = file->find(tensor.name);
    ASSERT_NE(read, nullptr) << tensor.name;
    EXPECT_EQ(read->dtype, tensor.dtype);
    EXPECT_EQ(read->shape, tensor.shape);
    ASSERT_EQ(read->bytes, tensor.bytes);
    EXPECT_EQ(std::memcmp(read->data, tensor.data, tensor.bytes), 0) << tensor.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read->data) % dtype_size(tensor.dtype), 0u)
        << tensor.name;
  }
}

TEST(Safetensors, AFileWithoutTensorsIsAFile) {
  const Scratch scratch;
  ASSERT_TRUE(write_safetensors(scratch / "x", {}, {}));
  EXPECT_EQ(slurp(scratch / "x"), file_of("{}      ", ""));
  EXPECT_TRUE(SafetensorsFile::open(scratch / "x")->tensors().empty());
}

TEST(SafetensorsWriter, RefusesSizesThatDoNotFit) {
  const Scratch scratch;
  const std::vector<std::byte> bytes(8);
  EXPECT_FALSE(write_safetensors(scratch / "x", {{{"a", Dtype::kF32, {3}}, bytes.data(), 8}}, {}));
  EXPECT_FALSE(write_safetensors(scratch / "x", {{{"a", Dtype::kF32, {-1}}, bytes.data(), 8}}, {}));
  const TensorView good{{"a", Dtype::kF32, {2}}, bytes.data(), 8};
  EXPECT_THAT(write_safetensors(scratch / "x", {good, good}, {}).error().message,
              HasSubstr("twice"));
  EXPECT_FALSE(
      write_safetensors(scratch / "x", {{{"\xFF", Dtype::kU8, {8}}, bytes.data(), 8}}, {}));
  auto writer = SafetensorsWriter::create(scratch / "x", {good}, {});
  ASSERT_TRUE(writer);
  EXPECT_FALSE(writer->finish()) << "bytes are missing";
  EXPECT_FALSE(writer->append(std::vector<std::byte>(9))) << "too many bytes";
  EXPECT_FALSE(std::filesystem::exists(scratch / "x"));
}

struct BadHeader {
  const char* header;
  const char* message;
};
class SafetensorsBadHeaderTest : public testing::TestWithParam<BadHeader> {};
TEST_P(SafetensorsBadHeaderTest, IsRefusedWithAReason) {
  EXPECT_THAT(message_of(file_of(GetParam().header, "12345678")), HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsBadHeaderTest,
    testing::Values(
        BadHeader{"", "does not begin with"}, BadHeader{" {}", "does not begin with"},
        BadHeader{"[]", "does not begin with"}, BadHeader{"{", "not valid JSON"},
        BadHeader{"{} x", "not valid JSON"}, BadHeader{"{\"\xFF\":{}}", "not valid JSON in UTF-8"},
        BadHeader{"{}", "belong to no tensor: 8 of 8"}, BadHeader{R"({"a":1})", "out of place"},
        BadHeader{R"({"a":null})", "out of place"}, BadHeader{R"({"a":{}})", "without dtype"},
        BadHeader{R"({"a":[]})", "out of place"},
        BadHeader{R"({"a":{"dtype":{"x":1}}})", "out of place"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2]}})", "without dtype"},
        BadHeader{R"({"a":{"dtype":"F8","shape":[2],"data_offsets":[0,8]}})", "unsupported dtype"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "negative"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", "a fraction"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", "an array"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "two numbers"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", "third offset"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "do not fit"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "do not fit"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
                  "past the file: a, 16 > 8"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "does not begin"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  "belong to no tensor: 4"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                  "too large"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})",
                  "out of place"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", "unknown key"},
        BadHeader{R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                  "duplicate key"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                  "duplicate tensor name"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  "does not begin"},
        BadHeader{R"({"__metadata__":{"a":"1","a":"2"}})", "duplicate key"},
        BadHeader{R"({"__metadata__":{"a":1}})", "out of place"},
        BadHeader{R"({"__metadata__":{"a":{"b":"c"}}})", "out of place"}));

TEST(Safetensors, RefusesHeadersThatAreTooLargeOrTooDeep) {
  EXPECT_THAT(message_of("1234567"), HasSubstr("too short"));
  EXPECT_THAT(message_of(file_of("{}", "", UINT64_MAX - 1)), HasSubstr("too large"));
  EXPECT_THAT(message_of(file_of("{}", "", 3)), HasSubstr("ends past the file"));
  EXPECT_THAT(message_of(file_of("{\"a\":" + std::string(1 << 20, '['), "")),
              HasSubstr("out of place"));
  std::string many = "{";
  for (size_t i = 0; i < SafetensorsFile::kMaxTensors + 2; ++i) {
    many += "\"" + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
  }
  many.back() = '}';
  EXPECT_THAT(message_of(file_of(many, "")), HasSubstr("too many tensors"));
}

TEST(Safetensors, EveryTruncationIsAnError) {
  for_each_truncation(slurp("tests/storage/data/reference.safetensors"),
                      [](const std::string& content) {
                        ASSERT_FALSE(parse(content)) << content.size() << " bytes";
                      });
}

TEST(Safetensors, BitFlipsInTheHeaderAreAnErrorOrAValidFile) {
  const std::string content = slurp("tests/storage/data/reference.safetensors");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), 8);
  for_each_bit_flip(content, 8 + header_bytes, 1500, 1, [](const std::string& altered) {
    const auto file = parse(altered);
    if (!file) {
      ASSERT_FALSE(file.error().message.empty());
      return;
    }
    for (const TensorView& tensor : file->tensors()) {
      const std::string bytes(reinterpret_cast<const char*>(tensor.data), tensor.bytes);
      ASSERT_EQ(bytes.size(), tensor_bytes(tensor).value());
    }
  });
}

}  // namespace
}  // namespace tunefleet::storage
