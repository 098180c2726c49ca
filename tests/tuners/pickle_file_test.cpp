#include "tuners/pickle_file.h"

#include <ATen/Functions.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/storage/scratch.h"
#include "tests/tuners/tiny_model.h"
#include "tuners/adapter_weights.h"
#include "tuners/swift.h"

namespace tunefleet::tuners {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class PickleFileTest : public testing::Test {
 protected:
  fs::path file() const { return scratch_.path() / "adapter_model.bin"; }
  storage::Scratch scratch_;
};

TEST_F(PickleFileTest, TensorsComeBackWithTheirTypes) {
  const std::vector<NamedTensor> tensors{
      {.key = "half", .tensor = at::randn({3, 2}).to(at::kHalf)},
      {.key = "indices", .tensor = at::arange(5, at::kInt)},
      {.key = "turned", .tensor = at::randn({4, 3}).t()},
      {.key = "narrow", .tensor = at::randn({4}).to(at::kBFloat16)}};
  ASSERT_TRUE(write_pickle(file(), tensors));
  const auto read = read_pickle(file());
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ((*read)[i].key, tensors[i].key);
    EXPECT_EQ((*read)[i].tensor.scalar_type(), tensors[i].tensor.scalar_type());
    EXPECT_TRUE(at::equal((*read)[i].tensor, tensors[i].tensor));
  }
}

TEST_F(PickleFileTest, WhatIsNoDictOfTensorsIsRefusedByName) {
  for (const std::string text : {"", "PK", "not a pickle at all"}) {
    std::ofstream(file()) << text;
    const auto read = read_pickle(file());
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message, HasSubstr("adapter_model.bin"));
  }
}

TEST_F(PickleFileTest, EveryCutIsRefused) {
  ASSERT_TRUE(write_pickle(file(), {{.key = "a", .tensor = at::ones({8})}}));
  const auto whole = fs::file_size(file());
  for (const auto bytes : {whole / 4, whole / 2, whole - 1}) {
    fs::resize_file(file(), bytes);
    EXPECT_FALSE(read_pickle(file())) << bytes;
  }
}

/// The document's default of save_pretrained is the pickle; both forms mean the same.
TEST_F(PickleFileTest, AdaptersTravelInEitherForm) {
  TinyModel model;
  const auto swift =
      Swift::prepare_model(model, LoraOptions{.r = 2, .target_modules = {.names = {"q_proj"}}});
  ASSERT_TRUE(swift);
  randomise(*(*swift)->find_adapter("default"));
  const at::Tensor wanted = model.logits();
  for (const bool safe : {false, true, false}) {
    ASSERT_TRUE((*swift)->save_pretrained(scratch_.path(), safe));
    const fs::path folder = scratch_.path() / "default";
    EXPECT_EQ(fs::exists(folder / "adapter_model.bin"), !safe);
    EXPECT_EQ(fs::exists(folder / "adapter_model.safetensors"), safe);
    TinyModel other;
    const auto loaded = Swift::from_pretrained(other, scratch_.path());
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_TRUE(at::equal(other.logits(), wanted));
  }
}

TEST_F(PickleFileTest, ARevisionIsADirectoryOfTheModel) {
  TinyModel model;
  const auto swift =
      Swift::prepare_model(model, LoraOptions{.r = 2, .target_modules = {.names = {"q_proj"}}});
  ASSERT_TRUE(swift);
  randomise(*(*swift)->find_adapter("default"));
  ASSERT_TRUE((*swift)->save_pretrained(scratch_.path() / "v2", true));
  TinyModel other;
  EXPECT_TRUE(Swift::from_pretrained(other, scratch_.path(), {}, true, "v2"));
  for (const std::string wrong : {"v1", "..", "v2/.."}) {
    const auto refused = Swift::from_pretrained(other, scratch_.path(), {}, true, wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_THAT(refused.error().message, HasSubstr("v2"));
  }
}

}  // namespace
}  // namespace tunefleet::tuners
