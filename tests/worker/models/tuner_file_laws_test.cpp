// Laws of files, names and wrong input.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "storage/safetensors.h"
#include "tests/worker/models/tuner_laws.h"
#include "tuners/adapter_files.h"
#include "tuners/config/adapter_config.h"
#include "tuners/swift.h"
#include "tuners/tensor_io.h"

namespace tunefleet::models {
namespace {

using testing::HasSubstr;

class TunerFileLaws : public TunerLaws {
 protected:
  static void expect_the_same_trains(const tuners::Adapter& one, const tuners::Adapter& other) {
    const auto seen = one.tensors(), wanted = other.tensors();
    ASSERT_EQ(seen.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(seen[i].path, wanted[i].path);
      EXPECT_EQ(seen[i].tensor.requires_grad(), wanted[i].tensor.requires_grad()) << seen[i].path;
    }
  }
};

TEST_P(TunerFileLaws, SavedAndLoadedItIsTheSameBitForBit) {
  const Tuned tuned = drawn();
  if (layouts().empty()) GTEST_SKIP() << "has no files of its own";
  for (const auto layout : layouts()) {
    const LawDirectory files;
    save(tuned, layout, files.path());
    const Tuned loaded = plain();
    load_adapter(loaded, files.path());
    EXPECT_TRUE(at::equal(output(loaded), output(tuned)));
    const auto wanted = file_tensors(tuned.adapter(), layout);
    const auto seen = file_tensors(loaded.adapter(), layout);
    ASSERT_EQ(seen.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(seen[i].key, wanted[i].key);
      EXPECT_TRUE(at::equal(seen[i].tensor, wanted[i].tensor)) << seen[i].key;
    }
    if (layout == layouts().front()) expect_the_same_trains(loaded.adapter(), tuned.adapter());
    EXPECT_EQ(loaded.adapter().config_text(layout), tuned.adapter().config_text(layout));
  }
}

TEST_P(TunerFileLaws, TheNameInAFileDoesNotMatter) {
  if (layouts().empty()) GTEST_SKIP() << "has no files of its own";
  const Tuned tuned = drawn();
  const LawDirectory files;
  save(tuned, layouts().front(), files.path());
  const Tuned loaded = plain();
  const std::map<std::string, std::string> renamed{{"default", "renamed"}};
  expect_ok(tuners::Swift::from_pretrained(*loaded.swift, files.path(), renamed));
  EXPECT_EQ(loaded.swift->adapter_names(), std::vector<std::string>{"renamed"});
  EXPECT_TRUE(at::equal(output(loaded), output(tuned)));
}

TEST_P(TunerFileLaws, TwoOfOneNameAreRefused) {
  const Tuned tuned = drawn();
  const auto before = output(tuned);
  const Status status = attach(tuned, "default", options());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kConflict);
  EXPECT_THAT(status.error().message, HasSubstr("default"));
  EXPECT_TRUE(at::equal(output(tuned), before));
}

/// The folder of "default" in either layout.
std::filesystem::path adapter_folder(const std::filesystem::path& root) {
  return std::filesystem::exists(root / "default") ? root / "default" : root;
}

/// Makes the first tensor one row longer. Returns its name and the shapes before and after.
std::vector<std::string> lengthen_a_tensor(const std::filesystem::path& file) {
  std::map<std::string, at::Tensor> tensors;
  {
    const auto read = storage::SafetensorsFile::open(file);
    if (!read) throw std::runtime_error(read.error().message);
    for (const auto& view : read->tensors()) tensors[view.name] = tuners::copy_tensor(view);
  }
  if (tensors.empty()) return {};
  auto& [name, tensor] = *tensors.begin();
  std::vector<std::string> said{name, tuners::shape_text(tensor.sizes())};
  tensor = tensor.dim() == 0 ? tensor.repeat({2})
                             : at::cat({tensor, tensor.narrow(0, 0, 1)}).contiguous();
  said.push_back(tuners::shape_text(tensor.sizes()));
  std::vector<storage::TensorView> views;
  for (const auto& [key, value] : tensors) views.push_back(tuners::view_of(key, value));
  expect_ok(storage::write_safetensors(file, views, {{"format", "pt"}}));
  return said;
}

TEST_P(TunerFileLaws, AWrongShapeInAFileNamesBothSizes) {
  const Tuned tuned = drawn();
  for (const auto layout : layouts()) {
    const LawDirectory files;
    save(tuned, layout, files.path());
    const auto file = adapter_folder(files.path()) / tuners::kAdapterWeightsFile;
    if (!std::filesystem::exists(file)) GTEST_SKIP() << "has no weights";
    const auto said = lengthen_a_tensor(file);
    if (said.empty()) GTEST_SKIP() << "has no weights";
    const Tuned loaded = plain();
    const Status status = tuners::Swift::from_pretrained(*loaded.swift, files.path());
    ASSERT_FALSE(status);
    for (size_t i = 1; i < said.size(); ++i) {
      EXPECT_THAT(status.error().message, HasSubstr(said[i]));
    }
    EXPECT_THAT(status.error().message, HasSubstr(files.path().string()));
    EXPECT_TRUE(loaded.swift->adapter_names().empty());
    EXPECT_TRUE(at::equal(output(loaded), output(*load())));
  }
}

TEST_P(TunerFileLaws, ATargetThatIsNotThereNamesTheNearest) {
  if (tuners::find_option(schema(), "target_modules") == nullptr) GTEST_SKIP() << "has no targets";
  auto json = nlohmann::json::parse(law().options);
  const std::string usual = on().is_decoder() ? "q_proj" : "head";
  const std::string right = law().target.empty() ? usual : law().target;
  std::string misspelt = right;
  std::swap(misspelt.end()[-1], misspelt.end()[-2]);
  json["target_modules"] = {misspelt};
  json.erase("feedforward_modules");  // must be among the targets
  const auto wrong = tuners::options_from_json(schema(), json.dump(), law().tuner);
  const Tuned tuned = plain();
  const Status status = wrong ? tuned.swift->add_adapter("default", *wrong) : fail(wrong.error());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(status.error().message, HasSubstr(misspelt));
  EXPECT_THAT(status.error().message, HasSubstr(right));
  EXPECT_TRUE(tuned.swift->adapter_names().empty());
  EXPECT_TRUE(at::equal(output(tuned), output(*load())));
}

INSTANTIATE_TEST_SUITE_P(All, TunerFileLaws, testing::ValuesIn(law_params()), law_name);

}  // namespace
}  // namespace tunefleet::models
