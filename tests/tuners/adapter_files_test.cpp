#include "tuners/adapter_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "storage/atomic_file.h"
#include "tests/tuners/tiny_model.h"
#include "tuners/peft_files.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

/// Every kind of tensor an adapter has, with patterns.
LoraOptions rich() {
  return {.r = 2,
          .lora_alpha = 3.0,
          .target_modules = {.all_linear = true},
          .modules_to_save = {"lm_head", "model.norm"},
          .rank_pattern = {{"up_proj", 1}},
          .alpha_pattern = {{"q_proj", 5.0}},
          .bias = "all",
          .use_rslora = true};
}

class AdapterFilesTest : public testing::TestWithParam<FileLayout> {
 protected:
  AdapterFilesTest() {
    std::string pattern = (fs::temp_directory_path() / "adapter_files.XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    dir_ = root_ / "checkpoint";
    fs::create_directory(dir_);
  }
  ~AdapterFilesTest() override { fs::remove_all(root_); }

  void add(const std::string& name, const LoraOptions& options = rich()) {
    const Status status = swift_.add_adapter(name, options);
    ASSERT_TRUE(status) << status.error().message;
    randomise(*swift_.find_adapter(name));
  }
  void save(const std::vector<std::string>& names = {}) {
    const Status status = GetParam() == FileLayout::kSwift ? save_swift(swift_, dir_, names)
                                                           : save_peft(swift_, dir_, names);
    ASSERT_TRUE(status) << status.error().message;
  }
  /// Where the adapter called "default" is.
  fs::path folder() const { return GetParam() == FileLayout::kSwift ? dir_ / "default" : dir_; }
  /// Rewrites the weights of "default" after `change` had its way with them.
  template <typename Change>
  void alter(Change change) {
    std::map<std::string, at::Tensor> tensors;
    {
      const auto file = storage::SafetensorsFile::open(folder() / kAdapterWeightsFile);
      ASSERT_TRUE(file);
      for (const auto& view : file->tensors()) tensors[view.name] = copy_tensor(view);
    }
    change(tensors);
    std::vector<storage::TensorView> views;
    for (const auto& [name, tensor] : tensors) views.push_back(view_of(name, tensor));
    ASSERT_TRUE(storage::write_safetensors(folder() / kAdapterWeightsFile, views, {}));
  }
  std::string key(const std::string& plain) const {
    if (GetParam() == FileLayout::kPeft) return "base_model.model." + plain;
    std::string with_name = plain;
    const size_t at = with_name.find(".weight");
    if (with_name.find(".lora_") != std::string::npos) with_name.insert(at, ".default");
    return with_name;
  }
  std::string load_error(TinyModel& model) {
    const auto loaded = Swift::from_pretrained(model, dir_);
    EXPECT_FALSE(loaded);
    for (const LinearSite* site : model.linear_sites()) EXPECT_TRUE(site->tuners.empty());
    return loaded ? "" : loaded.error().message;
  }

  fs::path root_;
  fs::path dir_;
  TinyModel model_;
  SwiftModel swift_{model_, 5};
};

INSTANTIATE_TEST_SUITE_P(Layouts, AdapterFilesTest,
                         testing::Values(FileLayout::kSwift, FileLayout::kPeft),
                         [](const auto& info) {
                           return info.param == FileLayout::kSwift ? "Swift" : "Peft";
                         });

TEST_P(AdapterFilesTest, WhatIsSavedLoadsEqual) {
  add("default");
  save();
  TinyModel other;
  const auto loaded = Swift::from_pretrained(other, dir_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(at::equal(other.logits(), model_.logits()));
  EXPECT_EQ((*loaded)->find_adapter("default")->options(),
            swift_.find_adapter("default")->options());
  EXPECT_EQ((*loaded)->trainable_set().fingerprint(), swift_.trainable_set().fingerprint());
  for (const auto& entry : (*loaded)->trainable_set().tensors) {
    EXPECT_TRUE(entry.tensor.is_leaf() && entry.tensor.requires_grad()) << entry.path;
  }
}

TEST_P(AdapterFilesTest, SeveralAdaptersLoadTogetherOneOrRenamed) {
  add("default", {.r = 2, .target_modules = {.names = {"q_proj"}}});
  add("style", {.r = 1, .target_modules = {.names = {"q_proj", "lm_head"}}});
  save();
  TinyModel all, one, renamed;
  const auto both = Swift::from_pretrained(all, dir_);
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_THAT((*both)->adapter_names(), ElementsAre("default", "style"));
  EXPECT_TRUE(at::equal(all.logits(), model_.logits()));

  ASSERT_TRUE(swift_.set_active_adapters({"style"}));
  const auto only = Swift::from_pretrained(one, dir_, "style");
  ASSERT_TRUE(only) << only.error().message;
  EXPECT_TRUE(at::equal(one.logits(), model_.logits()));
  const auto under_new_name =
      Swift::from_pretrained(renamed, dir_, std::map<std::string, std::string>{{"style", "st"}});
  ASSERT_TRUE(under_new_name) << under_new_name.error().message;
  EXPECT_THAT((*under_new_name)->adapter_names(), ElementsAre("st"));
  EXPECT_TRUE(at::equal(renamed.logits(), model_.logits()));
}

TEST_P(AdapterFilesTest, LoadedForInferenceTrainsNothing) {
  add("default");
  save();
  TinyModel other;
  const auto loaded = Swift::from_pretrained(other, dir_, {}, false);
  ASSERT_TRUE(loaded);
  EXPECT_TRUE((*loaded)->trainable_set().tensors.empty());
  for (const auto& entry : (*loaded)->find_adapter("default")->tensors())
    EXPECT_FALSE(entry.tensor.requires_grad());
}

TEST_P(AdapterFilesTest, HalfAdaptersBecomeFloat32) {
  add("default", {.r = 2, .target_modules = {.names = {"q_proj"}}});
  save();
  alter([](auto& tensors) {
    for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kBFloat16);
  });
  TinyModel other;
  const auto loaded = Swift::from_pretrained(other, dir_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  for (const auto& entry : (*loaded)->trainable_set().tensors)
    EXPECT_EQ(entry.tensor.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(other.logits(), model_.logits(), 0.05, 0.05));
}

TEST_P(AdapterFilesTest, AWrongShapeNamesTensorFileAndBothShapes) {
  add("default", {.r = 2, .target_modules = {.names = {"q_proj"}}});
  save();
  const std::string name = key("model.layers.0.self_attn.q_proj.lora_A.weight");
  alter([&](auto& tensors) { tensors.at(name) = at::zeros({3, 6}); });
  TinyModel other;
  EXPECT_THAT(load_error(other),
              testing::AllOf(HasSubstr(name), HasSubstr("[3, 6] instead of [2, 6]"),
                             HasSubstr("adapter_model.safetensors")));
}

TEST_P(AdapterFilesTest, MissingAndUnexpectedTensorsAreNamed) {
  add("default", {.r = 2, .target_modules = {.names = {"q_proj"}}});
  save();
  const std::string name = key("model.layers.1.self_attn.q_proj.lora_B.weight");
  const std::string strange = key("model.layers.7.self_attn.q_proj.lora_B.weight");
  alter([&](auto& tensors) { tensors[strange] = tensors.at(name); });
  TinyModel other;
  EXPECT_THAT(load_error(other), testing::AllOf(HasSubstr("unexpected"), HasSubstr(strange)));
  alter([&](auto& tensors) {
    tensors.erase(strange);
    tensors.erase(name);
  });
  EXPECT_THAT(load_error(other),
              HasSubstr("missing from the adapter's file: model.layers.1.self_attn.q_proj.lora_B"));
}

TEST_P(AdapterFilesTest, ValuesThatAreNotFiniteAreRefused) {
  add("default", {.r = 2, .target_modules = {.names = {"q_proj"}}});
  save();
  const std::string name = key("model.layers.0.self_attn.q_proj.lora_A.weight");
  for (const double value : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    alter([&](auto& tensors) { tensors.at(name)[1][2] = value; });
    TinyModel other;
    EXPECT_THAT(load_error(other), testing::AllOf(HasSubstr("not finite"), HasSubstr(name)));
  }
}

TEST_P(AdapterFilesTest, ACopyOfABaseWeightMustEqualIt) {
  add("default", {.r = 2, .target_modules = {.names = {"lm_head"}}});
  save();
  const std::string name = key("lm_head.base_layer.weight");
  alter([&](auto& tensors) { tensors[name] = model_.site("lm_head").weight.base.clone(); });
  TinyModel other;
  EXPECT_TRUE(Swift::from_pretrained(other, dir_));
  alter([&](auto& tensors) { tensors.at(name)[0][0] += 1; });
  EXPECT_THAT(load_error(other), HasSubstr("its own copy of a base weight"));
}

TEST_P(AdapterFilesTest, UnknownNamesAndEmptyPlacesAreErrors) {
  add("default");
  EXPECT_EQ(save_swift(swift_, dir_, {"defualt"}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(save_peft(swift_, dir_, {"defualt"}).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(fs::is_empty(dir_)) << "nothing is written before the names are checked";
  TinyModel other;
  EXPECT_THAT(load_error(other), HasSubstr("no adapter here"));
  save();
  EXPECT_THAT(Swift::from_pretrained(other, dir_, "defualt").error().message,
              HasSubstr("[default]: defualt"));
  EXPECT_EQ(Swift::from_pretrained(other, dir_ / "nowhere").error().code, ErrorCode::kNotFound);
}

TEST_P(AdapterFilesTest, ADamagedFileIsAnErrorAndPickleIsNotRead) {
  add("default");
  save();
  fs::resize_file(folder() / kAdapterWeightsFile, 100);
  TinyModel other;
  EXPECT_THAT(load_error(other), HasSubstr("adapter_model.safetensors"));
  fs::rename(folder() / kAdapterWeightsFile, folder() / "adapter_model.bin");
  EXPECT_THAT(load_error(other), HasSubstr("adapter_model.bin"));
}

TEST_P(AdapterFilesTest, ATunerWeDoNotHaveIsNamed) {
  add("default");
  save();
  std::ofstream(folder() / kAdapterConfigFile) << R"({"peft_type":"XLORA"})";
  TinyModel other;
  EXPECT_THAT(load_error(other), HasSubstr(": XLORA"));
}

TEST(PlainKeyTest, TakesPrefixAndNameOutOfEveryForm) {
  for (const char* key : {"m.q.lora_A.weight", "base_model.model.m.q.lora_A.weight",
                          "m.q.lora_A.st.weight", "base_model.model.m.q.lora_A.st.weight"}) {
    EXPECT_EQ(plain_key(key, "st"), "m.q.lora_A.weight") << key;
  }
  EXPECT_EQ(plain_key("lm_head.modules_to_save.st.weight", "st"), "lm_head.weight");
  EXPECT_EQ(plain_key("lm_head.weight", "st"), "lm_head.weight");
  EXPECT_EQ(plain_key("m.q.lora_B.other.weight", "st"), "m.q.lora_B.other.weight");
}

class SaveToPeftFormatTest : public AdapterFilesTest {};
INSTANTIATE_TEST_SUITE_P(FromSwift, SaveToPeftFormatTest, testing::Values(FileLayout::kSwift));

TEST_P(SaveToPeftFormatTest, ConvertsWithoutAModel) {
  add("default");
  add("style", {.r = 1, .target_modules = {.names = {"q_proj"}}});
  save();
  ASSERT_TRUE(save_peft(swift_, root_ / "expected"));
  const fs::path out = root_ / "out";
  const Status status = Swift::save_to_peft_format(dir_, out);
  ASSERT_TRUE(status) << status.error().message;
  for (const char* file :
       {"adapter_config.json", "adapter_model.safetensors", "style/adapter_config.json",
        "style/adapter_model.safetensors", "README.md"}) {
    EXPECT_EQ(storage::read_small_file(out / file, 1 << 20).value(),
              storage::read_small_file(root_ / "expected" / file, 1 << 20).value())
        << file;
  }
  EXPECT_FALSE(fs::exists(out / "default"));
  ASSERT_TRUE(Swift::save_to_peft_format(out, out)) << "what is converted stays";
  TinyModel other;
  const auto loaded = Swift::from_pretrained(other, out);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(at::equal(other.logits(), model_.logits()));
}

TEST_P(SaveToPeftFormatTest, ConvertsInPlace) {
  add("default");
  save();
  ASSERT_TRUE(Swift::save_to_peft_format(dir_, dir_));
  EXPECT_FALSE(fs::exists(dir_ / "default"));
  TinyModel other;
  const auto loaded = Swift::from_pretrained(other, dir_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(at::equal(other.logits(), model_.logits()));
}

TEST_P(SaveToPeftFormatTest, RefusesWhatPeftCannotSay) {
  LoraOptions typed = rich();
  typed.lora_dtype = "bfloat16";
  add("default", typed);
  save();
  const fs::path out = root_ / "out";
  EXPECT_THAT(Swift::save_to_peft_format(dir_, out).error().message, HasSubstr("lora_dtype"));
  std::ofstream(dir_ / "default" / kAdapterConfigFile) << R"({"swift_type":"ADAPTER"})";
  EXPECT_THAT(Swift::save_to_peft_format(dir_, out).error().message, HasSubstr("only LoRA"));
  fs::create_directory(dir_ / "extra_states");
  EXPECT_THAT(Swift::save_to_peft_format(dir_, out).error().message, HasSubstr("extra_states"));
  EXPECT_FALSE(fs::exists(out)) << "refusals come before the first file";
}

TEST_P(SaveToPeftFormatTest, TheLayoutIsTheDocuments) {
  add("default");
  save();
  for (const char* file : {"README.md", "configuration.json", "default/adapter_config.json",
                           "default/adapter_model.safetensors"}) {
    EXPECT_TRUE(fs::exists(dir_ / file)) << file;
  }
  const auto file = storage::SafetensorsFile::open(dir_ / "default" / kAdapterWeightsFile);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.lora_A.default.weight", "lm_head.weight",
        "model.norm.weight", "model.layers.0.self_attn.q_proj.base_layer.bias"}) {
    EXPECT_NE(file->find(name), nullptr) << name;
  }
}

}  // namespace
}  // namespace tunefleet::tuners
