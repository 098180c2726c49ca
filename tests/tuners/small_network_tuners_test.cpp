// Laws of the tuners of small networks, and what is refused.
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/tuners/ms_swift_case.h"
#include "tests/tuners/small_networks.h"
#include "tests/tuners/tiny_model.h"
#include "tuners/config/bypass_plan.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/part_options.h"
#include "tuners/prompt.h"
#include "tuners/res_tuning.h"
#include "tuners/sce_tuning.h"
#include "tuners/side.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"

namespace tunefleet::tuners {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const at::Tensor kTokens = at::randn({2, 5, 6});
const at::Tensor kPicture = at::randn({2, 3, 8, 8});

PromptOptions prompt(std::string blocks = R"(blocks\.\d)") {
  return {.dim = {8}, .target_modules = {.names = {}, .regex = blocks}, .prompt_length = 2};
}
SideOptions side() {
  return {.dim = 8, .target_modules = {.names = {"body"}, .regex = {}}, .side_module_name = "mlp"};
}
ResTuningOptions bypass() {
  return {.dims = {8},
          .root_modules = {.names = {"embed"}, .regex = {}},
          .root_modules_hook = "output",
          .stem_modules = {.names = {}, .regex = R"(blocks\.\d)"},
          .target_modules = {.names = {"head"}, .regex = {}},
          .tuner_cfg = {"\"res_adapter\""}};
}
SceTuningOptions skip(const std::string& mode = "decoder") {
  return {.dims = {8, 4},
          .target_modules = {.names = {"up.0", "up.1"}, .regex = {}},
          .tuner_mode = mode};
}

std::unique_ptr<SwiftModel> on(BaseModel& network, const TunerOptions& options,
                               bool random = true) {
  auto swift = Swift::prepare_model(network, options);
  if (!swift) throw std::runtime_error(swift.error().message);
  if (random) randomise(*(*swift)->find_adapter("default"));
  return *std::move(swift);
}

std::string refusal(BaseModel& network, const TunerOptions& options) {
  const auto swift = Swift::prepare_model(network, options);
  return swift ? "" : swift.error().message;
}

/// The loss's slope along a random direction of all trained tensors, by backward and by difference.
void expect_true_gradient(SmallNetwork& network, const SwiftModel& swift, const at::Tensor& x) {
  const auto loss = [&] { return network.forward(x).to(at::kDouble).square().mean(); };
  loss().backward();
  const auto set = swift.trainable_set();
  std::vector<at::Tensor> directions;
  double slope = 0;
  for (const auto& each : set.tensors) {
    directions.push_back(at::randn(each.tensor.sizes()));
    slope += each.tensor.grad().mul(directions.back()).sum().item<double>();
  }
  const at::NoGradGuard no_grad;
  const auto moved = [&](double by) {
    for (size_t i = 0; i < set.tensors.size(); ++i) {
      at::Tensor tensor = set.tensors[i].tensor;
      tensor.add_(directions[i], by);
    }
    return loss().item<double>();
  };
  const double step = 2e-3;
  const double above = moved(step), below = moved(-2 * step);
  EXPECT_NEAR((above - below) / (2 * step), slope, 1e-2 * std::max(1.0, std::abs(slope)));
}

TEST(SmallNetworkTuners, GradientsAreThoseOfFiniteDifferences) {
  TokenNet tokens;
  expect_true_gradient(tokens, *on(tokens, prompt()), kTokens);
  BodyNet body;
  expect_true_gradient(body, *on(body, side()), at::randn({4, 8}));
  StackNet stack;
  expect_true_gradient(stack, *on(stack, bypass()), kTokens);
  SkipNet net;
  expect_true_gradient(net, *on(net, skip()), kPicture);
  auto outputs = skip("identity");
  outputs.dims = {4};
  expect_true_gradient(net, *on(net, outputs), kPicture);
}

TEST(SmallNetworkTuners, SceditStartsAsTheIdentity) {
  SkipNet net;
  const at::Tensor plain = net.forward(kPicture);
  for (const char* mode : {"decoder", "encoder"}) {
    SceTuningOptions options = skip(mode);
    if (options.tuner_mode == "encoder") options.dims = {4};
    const auto swift = on(net, options, /*random=*/false);
    EXPECT_LT(largest_difference(net.forward(kPicture), plain), 1e-6) << mode;
  }
}

TEST(SmallNetworkTuners, SideStartsHalfAndHalf) {
  BodyNet net;
  const at::Tensor x = at::randn({4, 8});
  const auto swift = on(net, side(), /*random=*/false);
  std::map<std::string, at::Tensor> by_name;
  for (const auto& each : swift->find_adapter("default")->tensors())
    by_name[each.path] = each.tensor;
  const std::string stem = "body.side_default.side_net.";
  const auto layer = [&](const std::string& name, const at::Tensor& in) {
    return at::linear(in, by_name.at(stem + name + ".weight"), by_name.at(stem + name + ".bias"));
  };
  const at::Tensor beside = layer("fc2", at::gelu(layer("fc1", x)));
  const at::Tensor mixed = net.forward(x);
  ASSERT_TRUE(swift->set_active_adapters({}));
  const auto& head = net.parameter("head.weight").base;
  const at::Tensor plain = net.forward(x);
  const at::Tensor beside_head = at::linear(beside, head, net.parameter("head.bias").base);
  EXPECT_LT(largest_difference(mixed, plain.add(beside_head).mul(0.5)), 1e-5);
}

TEST(SmallNetworkTuners, ExtractedTokensAreThoseOfThePassWithThePrompt) {
  for (const bool front : {true, false}) {
    TokenNet net;
    auto options = prompt();
    options.attach_front = front;
    const auto full = on(net, options);
    const at::Tensor all = net.forward(kTokens);
    EXPECT_EQ(all.size(1), 7);
    std::vector<at::Tensor> values;
    for (const auto& each : full->find_adapter("default")->tensors()) values.push_back(each.tensor);
    ASSERT_TRUE(full->set_active_adapters({}));
    options.extract_embedding = true;
    const auto extracting = on(net, options);
    const auto tensors = extracting->find_adapter("default")->tensors();
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < tensors.size(); ++i) {
      at::Tensor tensor = tensors[i].tensor;
      tensor.copy_(values[i]);
    }
    // ms-swift extracts behind each of the three blocks, and one real token is left of five.
    const at::Tensor real = all.narrow(1, front ? 2 : 0, 5);
    ASSERT_EQ(net.forward(kTokens).sizes(), real.sizes());
    EXPECT_LT(largest_difference(net.forward(kTokens), real), 1e-5);
  }
}

TEST(SmallNetworkTuners, DifferentTunersInParallelAreTheirComposition) {
  SkipNet net;
  const at::Tensor plain = net.forward(kPicture);
  auto swift = on(net, skip());
  auto other = skip("encoder");
  other.dims = {4};
  ASSERT_TRUE(swift->add_adapter("outer", other));
  randomise(*swift->find_adapter("outer"));
  ASSERT_TRUE(swift->add_adapter("part", PartOptions{.target_modules = {.names = {"mid"}}}));
  const at::Tensor all = net.forward(kPicture);
  std::vector<at::Tensor> subsets;
  for (const auto& names : std::vector<std::vector<std::string>>{
           {"default"}, {"outer"}, {"default", "outer", "part"}, {}}) {
    ASSERT_TRUE(swift->set_active_adapters(names));
    subsets.push_back(net.forward(kPicture));
  }
  EXPECT_GT(largest_difference(all, subsets[0]), 1e-4);
  EXPECT_GT(largest_difference(all, subsets[1]), 1e-4);
  EXPECT_TRUE(at::equal(all, subsets[2]));
  EXPECT_TRUE(at::equal(plain, subsets[3]));
}

TEST(SmallNetworkTuners, EveryThreadHasItsOwnBypass) {
  StackNet net;
  const auto swift = on(net, bypass());
  std::vector<at::Tensor> inputs, expected, seen(8);
  for (size_t i = 0; i < seen.size(); ++i) {
    inputs.push_back(at::randn({3, 5, 6}));
    expected.push_back(net.forward(inputs.back()));
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < seen.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) seen[i] = net.forward(inputs[i]);
    });
  }
  for (auto& thread : threads) thread.join();
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_TRUE(at::equal(seen[i], expected[i])) << i;
}

TEST(SmallNetworkTuners, ABypassWithoutRootStartsAtTheFirstStem) {
  StackNet net;
  auto with_root = bypass();
  with_root.root_modules = {.names = {"blocks.0"}, .regex = {}};
  with_root.root_modules_hook = "input";
  auto without = bypass();
  without.root_modules = {};
  at::Tensor first;
  {
    const auto swift = on(net, with_root, /*random=*/false);
    first = net.forward(kTokens);
  }
  const auto swift = on(net, without, /*random=*/false);
  EXPECT_TRUE(at::equal(net.forward(kTokens), first));
}

TEST(SmallNetworkTuners, TheBypassSendsNoGradientIntoTheNetwork) {
  StackNet net;
  const auto swift = on(net, bypass());
  const at::Tensor x = kTokens.clone().set_requires_grad(true);
  net.forward(x).sum().backward();
  EXPECT_FALSE(x.grad().defined());
}

TEST(SmallNetworkTuners, ABypassWhoseStemsComeTooLateIsAnError) {
  StackNet net;
  auto options = bypass();
  options.target_modules.names = {"blocks.1"};
  const auto swift = on(net, options);
  EXPECT_THROW(net.forward(kTokens), std::logic_error);
}

TEST(SmallNetworkTuners, ZeroInitLastStartsTheLastBlockAtItsInputs) {
  StackNet net;
  auto options = bypass();
  options.zero_init_last = true;
  const auto swift = on(net, options, /*random=*/false);
  int zero = 0;
  for (const auto& each : swift->find_adapter("default")->tensors()) {
    const bool last = each.key.find("bypass_blocks.2.") != std::string::npos &&
                      each.key.find(".ln2.") != std::string::npos;
    if (last) zero += 1;
    EXPECT_EQ(last, each.tensor.abs().max().item<double>() == 0) << each.key;
  }
  EXPECT_EQ(zero, 4);
}

TEST(SmallNetworkTuners, AlexNetIsTorchvisions) {
  const std::filesystem::path directory = "tests/oracle/ms_swift/side_alexnet";
  const auto values = read_tensors(directory / "values.safetensors");
  const auto facts = read_json_file(directory / "case.json");
  const TunerPlace place{"features.side_default"};
  SideLayer layer(make_side_network("alexnet", 5, place.inside("side_net")), place);
  const at::NoGradGuard no_grad;
  for (const auto& each : layer.tensors()) {
    const at::Tensor& tensor = each.tensor;
    const std::string key = place.path + "." + each.name;
    ASSERT_TRUE(facts.at("shapes").contains(key)) << key;
    EXPECT_EQ(tensor.sizes().vec(), facts["shapes"][key].get<std::vector<int64_t>>()) << key;
    const double fan_in = tensor.dim() > 1 ? static_cast<double>(tensor[0].numel()) : 0;
    const double scale = fan_in > 0 ? 1.7 / std::sqrt(fan_in) : 0.1;
    const at::Tensor wave =
        at::arange(tensor.numel(), at::kDouble).mul(0.37).add(static_cast<double>(key.size()));
    at::Tensor value = tensor;
    value.copy_(wave.sin().mul(scale).reshape(tensor.sizes()));
  }
  const auto zeros = [](const at::Tensor&) { return at::zeros({1, 5}); };
  EXPECT_LT(largest_difference(layer.forward(values.at("input"), zeros, {}), values.at("output")),
            1e-5);
}

TEST(SmallNetworkTuners, WhatCannotBeIsRefusedInWords) {
  TokenNet tokens;
  BodyNet body;
  StackNet stack;
  SkipNet net;
  EXPECT_THAT(refusal(tokens, prompt(R"(block\.\d)")), HasSubstr("nearest are blocks."));
  EXPECT_THAT(refusal(tokens, prompt("embed|head")),
              HasSubstr("does not end with a number: embed"));
  auto widths = prompt();
  widths.dim = {8, 8};
  EXPECT_THAT(refusal(tokens, widths), HasSubstr("fewer entries than there are targets: 2 < 3"));
  auto mask = prompt();
  mask.attention_mask_value = {"\"low\""};
  EXPECT_THAT(refusal(tokens, mask), HasSubstr("attention_mask_value"));
  auto no_width = side();
  no_width.dim = 0;
  EXPECT_THAT(refusal(body, no_width), HasSubstr("needs dim"));
  auto typo = bypass();
  typo.tuner_cfg = {"\"res_adaptor\""};
  EXPECT_THAT(refusal(stack, typo), HasSubstr("did you mean res_adapter?"));
  auto nothing = bypass();
  nothing.tuner_cfg = {"\"zero\""};
  EXPECT_THAT(refusal(stack, nothing), HasSubstr("nothing is left"));
  auto few = bypass();
  few.tuner_cfg = {R"(["res_adapter", "res_adapter"])"};
  EXPECT_THAT(refusal(stack, few), HasSubstr("fewer entries than there are stems: 2 < 3"));
  auto twice = skip();
  twice.target_modules.names = {"up", "up.1"};
  EXPECT_THAT(refusal(net, twice), HasSubstr("names a module twice: up.1"));
  auto unknown = skip();
  unknown.target_modules.names = {"upp.0", "up.1"};
  EXPECT_THAT(refusal(net, unknown), AllOf(HasSubstr("nearest are up.0"), HasSubstr("upp.0")));
  auto thin = skip();
  thin.down_ratio = 0.01;
  EXPECT_THAT(refusal(net, thin), HasSubstr("leaves no width"));
}

TEST(SmallNetworkTuners, WhatDoesNotFitTheTensorsThrows) {
  SkipNet net;
  auto wide = skip();
  wide.dims = {9, 4};
  {
    const auto swift = on(net, wide);
    EXPECT_THROW(net.forward(kPicture), std::invalid_argument);
  }
  const auto outputs = on(net, skip("encoder"));  // both blocks give 4 channels, not 8
  EXPECT_THROW(net.forward(kPicture), std::invalid_argument);
  StackNet stack;
  auto dims = bypass();
  dims.dims = {7};
  const auto bypassed = on(stack, dims);
  EXPECT_THROW(stack.forward(kTokens), std::invalid_argument);
}

TEST(SmallNetworkTuners, NamesBecomeExpressionsWhereMsSwiftKnowsNoNames) {
  BodyNet body;
  const auto swift = on(body, side());
  EXPECT_THAT(swift->find_adapter("default")->config_text(FileLayout::kSwift),
              HasSubstr(R"("target_modules": "body")"));
  TokenNet tokens;
  auto names = prompt();
  names.target_modules = {.names = {"0"}, .regex = {}};
  const auto prompted = on(tokens, names);
  EXPECT_THAT(prompted->find_adapter("default")->config_text(FileLayout::kSwift),
              HasSubstr("\"target_modules\": [\n    \"0\"\n  ]"));
}

class LoraOnConvolutions : public testing::TestWithParam<bool> {};

TEST_P(LoraOnConvolutions, WorksInBfloat16) {
  at::manual_seed(3);  // The same factors whatever ran before.
  ConvNet net;
  for (ParameterSlot* slot : net.parameters()) slot->base = slot->base.to(at::kBFloat16);
  const at::Tensor x = kPicture.to(at::kBFloat16);
  const at::Tensor plain = net.forward(x);
  const auto swift = on(net, LoraOptions{.r = 2,
                                         .target_modules = {.names = {"stem", "wide", "point"}},
                                         .use_dora = GetParam()});
  const at::Tensor tuned = net.forward(x);
  EXPECT_EQ(tuned.scalar_type(), at::kBFloat16);
  EXPECT_GT(largest_difference(tuned, plain), 0.05) << "it shows nothing";
  tuned.square().mean().backward();
  for (const auto& each : swift->trainable_set().tensors) {
    EXPECT_EQ(each.tensor.scalar_type(), at::kFloat) << each.path;
    EXPECT_GT(each.tensor.grad().abs().max().item<double>(), 0.0) << each.path;
  }
  ASSERT_TRUE(swift->merge());
  EXPECT_LT(largest_difference(net.forward(x), tuned), 0.05 * tuned.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutDora, LoraOnConvolutions, testing::Bool());

class DilatedNet : public SmallNetwork {
 public:
  DilatedNet() { conv("conv", 3, 4, ConvShape{.padding = {2, 2}, .dilation = {2, 2}}); }
  at::Tensor pass(const at::Tensor& x, const at::Tensor&) override { return run("conv", x); }
};

/// PEFT's A leaves the dilation out, and then does not fit.
TEST(SmallNetworkTuners, LoraSeesWhatADilatedConvolutionSees) {
  DilatedNet net;
  const auto swift = on(net, LoraOptions{.r = 2, .target_modules = {.names = {"conv"}}});
  const at::Tensor tuned = net.forward(kPicture);
  ASSERT_TRUE(swift->merge());
  EXPECT_LT(largest_difference(net.forward(kPicture), tuned), 1e-5);
}

TEST(SmallNetworkTuners, LoraRefusesConvolutionsThatItDoesNotFit) {
  ConvNet net;
  const auto message = [&](LoraOptions options, const char* target) {
    options.target_modules.names = {target};
    return refusal(net, options);
  };
  EXPECT_THAT(message({.r = 7}, "stem"), HasSubstr("r 7, stem is [6, 27]"));
  EXPECT_THAT(message({.r = 3}, "grouped"),
              AllOf(HasSubstr("multiple of the convolution's groups"), HasSubstr("grouped")));
  EXPECT_THAT(message({.r = 2, .use_dora = true}, "grouped"), HasSubstr("DoRA"));
  EXPECT_THAT(message({.r = 2, .init_lora_weights = "pissa"}, "stem"), HasSubstr("stem"));
  const auto swift = on(net, LoraOptions{.r = 2, .target_modules = {.names = {"grouped"}}});
  EXPECT_THAT(swift->merge().error().message, HasSubstr("cannot be merged"));
}

TEST(SmallNetworkTuners, AConvolutionThatAnotherAdapterReplacesTakesNoMergedUpdate) {
  SkipNet net;
  const auto swift =
      on(net,
         LoraOptions{.r = 2, .target_modules = {.names = {"down.1"}}, .modules_to_save = {"mid"}});
  ASSERT_TRUE(swift->add_adapter("low", LoraOptions{.r = 2, .target_modules = {.names = {"mid"}}}));
  const auto status = swift->merge({"low"});
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("low, mid.weight"));
  EXPECT_TRUE(net.parameter("mid.weight").value().requires_grad()) << "the copy still trains";
  EXPECT_TRUE(swift->merge());
}

TEST(BypassPlan, WidthsComeFromNumbersListsAndTriples) {
  ResTuningOptions options = bypass();
  options.tuner_cfg = {R"({"lateral_cfg": {"res_adapter": {"adapter_length": [5, [8, 3, 7]]}},
                           "vertical_cfg": "res_adapter", "aux_cfg": {"upsample": {}}})"};
  options.upsample_out_channels = {"[null, 6]"};
  const auto plan = plan_bypass(options, 2);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ((*plan)[0].lateral.width, 5);
  EXPECT_EQ((*plan)[1].lateral.in, 8);
  EXPECT_EQ((*plan)[1].lateral.width, 3);
  EXPECT_EQ((*plan)[1].lateral.out, 7);
  EXPECT_EQ((*plan)[0].vertical.width, 32);
  EXPECT_EQ((*plan)[0].aux->conv_channels, 0);
  EXPECT_EQ((*plan)[1].aux->conv_channels, 6);
  EXPECT_FALSE(plan_bypass(options, 3));
}

}  // namespace
}  // namespace tunefleet::tuners
