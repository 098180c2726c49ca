#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "tests/tuners/ms_swift_case.h"
#include "tests/tuners/small_networks.h"
#include "tuners/adapter_files.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"

/// The tuners of small networks compute, train and write what ms-swift does.
namespace tunefleet::tuners {
namespace {

namespace fs = std::filesystem;

struct NetworkCase {
  const char* name;
  std::function<std::unique_ptr<SmallNetwork>()> network;
};

template <typename Network>
std::unique_ptr<SmallNetwork> make() {
  return std::make_unique<Network>();
}
template <int64_t channels>
std::unique_ptr<SmallNetwork> make_pyramid() {
  return std::make_unique<PyramidNet>(channels);
}

class MsSwiftNetworkTest : public testing::TestWithParam<NetworkCase> {
 protected:
  void SetUp() override {
    for (ParameterSlot* slot : network_->parameters()) slot->base = case_["network." + slot->path];
    auto swift = Swift::from_pretrained(*network_, case_.directory / "adapter");
    ASSERT_TRUE(swift) << swift.error().message;
    swift_ = *std::move(swift);
  }

  at::Tensor output() const {
    return network_->forward(case_["input"], case_.has("mask") ? case_["mask"] : at::Tensor());
  }
  at::Tensor loss() const { return output().sub(case_["target"]).square().mean(); }
  /// The adapter's tensors by their keys in ms-swift's files.
  std::map<std::string, at::Tensor> tensors() const {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& entry : swift_->find_adapter("default")->tensors())
      tensors[file_key(entry, FileLayout::kSwift, "default")] = entry.tensor;
    return tensors;
  }

  const MsSwiftCase case_{GetParam().name};
  const std::unique_ptr<SmallNetwork> network_ = GetParam().network();
  std::unique_ptr<SwiftModel> swift_;
};

TEST_P(MsSwiftNetworkTest, ComputesTheSameOutput) {
  EXPECT_LT(largest_difference(output(), case_["output"]), 1e-5);
}

TEST_P(MsSwiftNetworkTest, DeactivatedLeavesTheNetworkAsItWas) {
  const at::Tensor active = output();
  ASSERT_TRUE(swift_->deactivate_adapter("default"));
  const at::Tensor base = output();
  EXPECT_LT(largest_difference(base, case_["base_output"]), 1e-5);
  swift_.reset();
  EXPECT_TRUE(at::equal(output(), base));
  EXPECT_FALSE(active.sizes() == base.sizes() && at::equal(active, base));
}

TEST_P(MsSwiftNetworkTest, TrainsTheSameTensorsWithTheSameGradients) {
  const auto trained = tensors();
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : trained) keys.push_back(key);
  EXPECT_EQ(keys, case_.trained());
  loss().backward();
  for (const auto& [key, tensor] : trained)
    EXPECT_LT(largest_difference(tensor.grad(), case_["grad." + key]), 1e-5) << key;
  for (const ParameterSlot* slot : network_->parameters())
    EXPECT_FALSE(slot->base.requires_grad()) << slot->path;
}

TEST_P(MsSwiftNetworkTest, ThreeStepsOfTrainingEndAtTheSameValues) {
  auto trained = tensors();
  CaseAdamW optimizer;
  for (int step = 0; step < 3; ++step) {
    const at::Tensor value = loss();
    EXPECT_NEAR(value.item<double>(), case_["losses"][step].item<double>(), 1e-5);
    value.backward();
    optimizer.step(trained);
  }
  EXPECT_NEAR(loss().item<double>(), case_["losses"][3].item<double>(), 1e-5);
  for (const auto& [key, tensor] : trained)
    EXPECT_LT(largest_difference(tensor, case_["step3." + key]), 1e-5) << key;
}

TEST_P(MsSwiftNetworkTest, WritesTheSameFiles) {
  const fs::path directory =
      fs::path(testing::TempDir()) / ("ms_swift_" + std::string(GetParam().name));
  ASSERT_TRUE(save_swift(*swift_, directory));
  const fs::path theirs = case_.directory / "adapter" / "default";
  EXPECT_EQ(read_json_file(directory / "default" / "adapter_config.json"),
            read_json_file(theirs / "adapter_config.json"));
  const auto ours = read_tensors(directory / "default" / "adapter_model.safetensors");
  const auto expected = read_tensors(theirs / "adapter_model.safetensors");
  ASSERT_EQ(ours.size(), expected.size());
  for (const auto& [key, tensor] : expected) {
    ASSERT_TRUE(ours.contains(key)) << key;
    EXPECT_TRUE(at::equal(ours.at(key), tensor)) << key;
  }
  fs::remove_all(directory);
}

INSTANTIATE_TEST_SUITE_P(Cases, MsSwiftNetworkTest,
                         testing::Values(NetworkCase{"prompt_front", &make<TokenNet>},
                                         NetworkCase{"prompt_back", &make<TokenNet>},
                                         NetworkCase{"prompt_mask", &make<TokenNet>},
                                         NetworkCase{"prompt_extract", &make<TokenNet>},
                                         NetworkCase{"side_mlp", &make<BodyNet>},
                                         NetworkCase{"side_fcn4", &make<PictureNet>},
                                         NetworkCase{"restuning_res_adapter", &make<StackNet>},
                                         NetworkCase{"restuning_weights", &make<StackNet>},
                                         NetworkCase{"restuning_zero", &make<StackNet>},
                                         NetworkCase{"restuning_group", &make_pyramid<8>},
                                         NetworkCase{"restuning_upsample", &make_pyramid<4>},
                                         NetworkCase{"scedit_decoder", &make<SkipNet>},
                                         NetworkCase{"scedit_encoder", &make<SkipNet>}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tunefleet::tuners
