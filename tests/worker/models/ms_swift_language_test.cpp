#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <filesystem>

#include "tests/tuners/ms_swift_case.h"
#include "tests/worker/models/tiny_model.h"
#include "tuners/adapter_files.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"
#include "worker/models/decoder.h"

/// Tuners of language models compute, train and write what ms-swift does.
namespace tunefleet::models {
namespace {

namespace fs = std::filesystem;
using tuners::MsSwiftCase;

/// The rows of ids [B, T].
TokenBatch batch_of(const at::Tensor& ids) {
  std::vector<std::vector<int32_t>> rows;
  for (const auto& row : ids.to(at::kInt).unbind()) {
    const auto* id = row.const_data_ptr<int32_t>();
    rows.emplace_back(id, id + row.numel());
  }
  return flat_batch(rows);
}

std::unique_ptr<Decoder> load_model() {
  auto model = Decoder::load("tests/oracle/ms_swift/model", {.dtype = at::kFloat});
  if (!model) throw std::runtime_error(model.error().message);
  return *std::move(model);
}

class MsSwiftLanguageTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto swift = tuners::Swift::from_pretrained(*model_, case_.directory / "adapter");
    ASSERT_TRUE(swift) << swift.error().message;
    swift_ = *std::move(swift);
  }

  /// [B, T, V]
  at::Tensor logits(bool training) const {
    const tuners::ForwardContext context{.training = training, .seed = 42, .step = 0};
    const auto& ids = case_["input_ids"];
    const auto rows = model_->hidden_states(batch_of(ids), context);
    return model_->logits(rows, context).view({ids.size(0), ids.size(1), -1});
  }
  at::Tensor loss() const {
    const auto wide = logits(true);
    const auto& ids = case_["input_ids"];
    const int64_t last = ids.size(1) - 1;
    return at::cross_entropy_loss(wide.narrow(1, 0, last).reshape({-1, wide.size(2)}),
                                  ids.narrow(1, 1, last).reshape(-1));
  }
  /// The adapters' trained tensors by their keys in ms-swift's files.
  std::map<std::string, at::Tensor> tensors() const {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& name : swift_->adapter_names()) {
      for (const auto& entry : swift_->find_adapter(name)->tensors())
        tensors[file_key(entry, tuners::FileLayout::kSwift, name)] = entry.tensor;
    }
    return tensors;
  }
  static void expect_near(const at::Tensor& seen, const at::Tensor& wanted,
                          const std::string& what) {
    EXPECT_LT(tuners::largest_difference(seen, wanted),
              1e-5 * std::max(1.0, wanted.abs().max().item<double>()))
        << what;
  }

  const MsSwiftCase case_{GetParam()};
  const std::unique_ptr<Decoder> model_ = load_model();
  std::unique_ptr<tuners::SwiftModel> swift_;
};

TEST_P(MsSwiftLanguageTest, ComputesTheSameLogits) {
  const at::NoGradGuard no_grad;
  expect_near(logits(false), case_["logits"], "in evaluation");
  expect_near(logits(true), case_[case_.has("train_logits") ? "train_logits" : "logits"],
              "in training");
}

TEST_P(MsSwiftLanguageTest, DeactivatedLeavesTheModelAsItWas) {
  const at::NoGradGuard no_grad;
  ASSERT_TRUE(swift_->set_active_adapters({}));
  const at::Tensor base = logits(false);
  expect_near(base, case_["base_logits"], "base");
  EXPECT_TRUE(at::equal(logits(true), base)) << "in training";
  swift_.reset();
  EXPECT_TRUE(at::equal(logits(false), base)) << "without tuners";
}

TEST_P(MsSwiftLanguageTest, TrainsTheSameTensorsWithTheSameGradients) {
  const auto trained = tensors();
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : trained) keys.push_back(key);
  EXPECT_EQ(keys, case_.trained());
  loss().backward();
  for (const auto& [key, tensor] : trained) {
    ASSERT_TRUE(tensor.grad().defined()) << key;
    expect_near(tensor.grad(), case_["grad." + key], key);
  }
}

TEST_P(MsSwiftLanguageTest, ThreeStepsOfTrainingEndAtTheSameValues) {
  auto trained = tensors();
  tuners::CaseAdamW optimizer;
  for (int step = 0; step < 3; ++step) {
    const at::Tensor value = loss();
    EXPECT_NEAR(value.item<double>(), case_["losses"][step].item<double>(), 1e-5);
    value.backward();
    optimizer.step(trained);
  }
  EXPECT_NEAR(loss().item<double>(), case_["losses"][3].item<double>(), 1e-5);
  for (const auto& [key, tensor] : trained) expect_near(tensor, case_["step3." + key], key);
}

/// Keys of PEFT's part in a file: another release has others, and says where the file comes from.
bool is_of_peft(const std::string& key) {
  return key == "inference_mode" || key == "base_model_name_or_path" || key == "task_type";
}

TEST_P(MsSwiftLanguageTest, WritesTheSameFiles) {
  const fs::path directory = fs::path(testing::TempDir()) / (std::string("language_") + GetParam());
  ASSERT_TRUE(tuners::save_swift(*swift_, directory));
  for (const auto& name : swift_->adapter_names()) {
    const fs::path theirs = case_.directory / "adapter" / name;
    const auto config = tuners::read_json_file(directory / name / "adapter_config.json");
    const auto expected_config = tuners::read_json_file(theirs / "adapter_config.json");
    for (const auto& [key, value] : expected_config.items()) {
      ASSERT_TRUE(config.contains(key)) << key;
      if (is_of_peft(key)) continue;
      EXPECT_EQ(config[key], value) << key;
    }
    const auto ours = tuners::read_tensors(directory / name / "adapter_model.safetensors");
    const auto expected = tuners::read_tensors(theirs / "adapter_model.safetensors");
    EXPECT_EQ(ours.size(), expected.size());
    for (const auto& [key, tensor] : expected) {
      ASSERT_TRUE(ours.contains(key)) << key;
      EXPECT_TRUE(at::equal(ours.at(key), tensor)) << key;
    }
  }
  fs::remove_all(directory);
}

INSTANTIATE_TEST_SUITE_P(Cases, MsSwiftLanguageTest,
                         testing::Values("lora", "lora_rslora", "lora_dora", "lora_embedding",
                                         "lora_saved", "lora_two", "llamapro", "llamapro_groups",
                                         "adapter", "adapter_layers", "longlora", "longlora_half",
                                         "lora_and_adapter", "adapter_two", "part",
                                         "part_and_lora"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tunefleet::models
