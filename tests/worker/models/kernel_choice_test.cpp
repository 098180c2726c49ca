// What has a fused and a plain implementation gives the same losses and gradients with either.
#include <algorithm>
#include <map>

#include "tests/worker/models/graph_nodes.h"
#include "tests/worker/models/tiny_model.h"
#include "tuners/config/lora_options.h"

namespace tunefleet::models {
namespace {

using tuners::ForwardContext;
using tuners::Kernels;
using tuners::LoraOptions;

TokenBatch rows() {
  auto batch = flat_batch({some_ids(9, 1), some_ids(1, 2), some_ids(14, 3), some_ids(6, 4)});
  for (const size_t masked : {2, 3, 12}) batch.labels[masked] = -100;
  return batch;
}

ForwardContext training(const TokenBatch& batch) {
  return {.training = true,
          .seed = 42,
          .step = 3,
          .token_keys = at::arange(static_cast<int64_t>(batch.input_ids.size()), at::kLong)};
}

/// A loss, what was counted, and the gradients of some tensors.
struct Outcome {
  at::Tensor loss;
  kernels::CrossEntropySums sums;
  std::vector<at::Tensor> gradients;
};

Outcome outcome_of(const Decoder& model, const ForwardContext& context,
                   const std::vector<at::Tensor>& trained) {
  Outcome outcome;
  const auto batch = rows();
  outcome.loss = model.loss(batch, context, 1.0 / 23.0, &outcome.sums);
  outcome.loss.backward();
  for (const auto& tensor : trained) {
    outcome.gradients.push_back(tensor.grad().clone());
    tensor.mutable_grad().reset();
  }
  return outcome;
}

/// Largest difference relative to what is compared: 1e-5 in float32; in bfloat16, whose numbers have
/// 8 bits, what some twenty roundings one after the other come to.
double tolerance_of(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-5 : 1e-1; }

void expect_equal_outcomes(const Outcome& seen, const Outcome& wanted, at::ScalarType dtype) {
  const double tolerance = tolerance_of(dtype);
  kernels::expect_close(seen.loss, wanted.loss, tolerance, "loss");
  EXPECT_EQ(seen.sums.rows, wanted.sums.rows);
  EXPECT_NEAR(seen.sums.loss, wanted.sums.loss, tolerance * wanted.sums.loss);
  if (dtype == at::kFloat) {
    EXPECT_EQ(seen.sums.correct, wanted.sums.correct);
  }
  ASSERT_EQ(seen.gradients.size(), wanted.gradients.size());
  for (size_t i = 0; i < wanted.gradients.size(); ++i) {
    const double size = wanted.gradients[i].to(at::kFloat).norm().item<double>();
    const auto difference = seen.gradients[i].to(at::kFloat) - wanted.gradients[i].to(at::kFloat);
    EXPECT_LE(difference.norm().item<double>(), tolerance * size) << "gradient " << i;
  }
}

// ---- use_liger_kernel -------------------------------------------------------------------------

struct FamilyCase {
  std::string model_type, config;
  at::ScalarType dtype = at::kFloat;
};

class BaseKernelsTest : public testing::TestWithParam<FamilyCase> {
 protected:
  /// Trained copies of all parameters, tied ones once.
  static std::vector<at::Tensor> train_everything(Decoder& model) {
    std::map<const void*, at::Tensor> copies;
    std::vector<at::Tensor> trained;
    for (auto* slot : model.parameters()) {
      auto& copy = copies[slot->base.const_data_ptr()];
      if (!copy.defined()) {
        copy = slot->base.clone().requires_grad_(true);
        trained.push_back(copy);
      }
      slot->override_value = copy;
    }
    return trained;
  }

  const TinyModel stored_{GetParam().config, GetParam().model_type};
  const std::unique_ptr<Decoder> model_ = stored_.load(GetParam().dtype);
};

TEST_P(BaseKernelsTest, PlainOperationsGiveTheFusedLossAndGradients) {
  const auto trained = train_everything(*model_);
  auto context = training(rows());
  const auto fused = outcome_of(*model_, context, trained);
  context.base_kernels = Kernels::kPlain;
  const auto plain = outcome_of(*model_, context, trained);
  expect_equal_outcomes(plain, fused, GetParam().dtype);
  for (const char* operation : {"RmsNorm", "Rope", "SwiGlu", "LinearCrossEntropy"}) {
    EXPECT_TRUE(has_node(fused.loss, operation)) << operation;
    EXPECT_FALSE(has_node(plain.loss, operation)) << operation;
  }
}

TEST_P(BaseKernelsTest, EvaluationIsTheSame) {
  const at::NoGradGuard no_grad;
  kernels::CrossEntropySums fused, plain;
  model_->loss(rows(), {}, 1.0, &fused);
  model_->loss(rows(), {.base_kernels = Kernels::kPlain}, 1.0, &plain);
  EXPECT_EQ(plain.rows, fused.rows);
  EXPECT_NEAR(plain.loss, fused.loss, tolerance_of(GetParam().dtype) * fused.loss);
}

INSTANTIATE_TEST_SUITE_P(
    Families, BaseKernelsTest,
    testing::Values(FamilyCase{"llama", ""},
                    FamilyCase{"llama", R"("tie_word_embeddings": true, "attention_bias": true)"},
                    FamilyCase{"llama", "", at::kBFloat16}, FamilyCase{"qwen2", ""},
                    FamilyCase{"qwen2", "", at::kBFloat16}, FamilyCase{"qwen3", ""},
                    FamilyCase{"qwen3", "", at::kBFloat16},
                    FamilyCase{"mistral", R"("sliding_window": 4)"},
                    FamilyCase{"mistral", R"("sliding_window": 4)", at::kBFloat16}),
    [](const auto& info) {
      return info.param.model_type + std::to_string(info.index) +
             (info.param.dtype == at::kFloat ? "_float32" : "_bfloat16");
    });

// ---- tuner_backend ----------------------------------------------------------------------------

struct BackendCase {
  std::string label;
  std::vector<LoraOptions> adapters;  ///< Several: side by side on the same layers.
};

class LoraKernelsTest
    : public testing::TestWithParam<std::tuple<BackendCase, at::ScalarType, bool>> {
 protected:
  LoraKernelsTest() {
    for (const auto& options : adapters()) {
      const std::string name = "adapter" + std::to_string(swift_.adapter_names().size());
      expect_ok(swift_.add_adapter(name, options));
      randomise(*swift_.find_adapter(name), 0.1, 7 + swift_.adapter_names().size());
    }
    for (const auto& each : swift_.trainable_set().tensors) trained_.push_back(each.tensor);
  }
  static const std::vector<LoraOptions>& adapters() { return std::get<0>(GetParam()).adapters; }
  static at::ScalarType dtype() { return std::get<1>(GetParam()); }
  /// The coarsest dtype that takes part.
  static at::ScalarType precision() {
    const bool narrow = std::any_of(adapters().begin(), adapters().end(),
                                    [](const auto& each) { return each.lora_dtype.has_value(); });
    return narrow ? at::kBFloat16 : dtype();
  }
  static std::string config() { return std::get<2>(GetParam()) ? R"("attention_bias": true)" : ""; }

  const TinyModel stored_{config()};
  const std::unique_ptr<Decoder> model_ = stored_.load(dtype());
  tuners::SwiftModel swift_{*model_};
  std::vector<at::Tensor> trained_;
};

TEST_P(LoraKernelsTest, PlainOperationsGiveTheFusedLossAndGradients) {
  auto context = training(rows());
  const auto fused = outcome_of(*model_, context, trained_);
  context.lora_kernels = Kernels::kPlain;
  const auto plain = outcome_of(*model_, context, trained_);
  expect_equal_outcomes(plain, fused, precision());
  for (const auto& gradient : fused.gradients)
    EXPECT_GT(gradient.abs().max().item<double>(), 0.0) << "the case shows nothing";
}

TEST_P(LoraKernelsTest, PlainOperationsGiveTheFusedOutput) {
  const at::NoGradGuard no_grad;
  for (const bool train : {false, true}) {
    auto context = training(rows());
    context.training = train;
    const auto fused = model_->hidden_states(rows(), context);
    context.lora_kernels = Kernels::kPlain;
    const auto plain = model_->hidden_states(rows(), context);
    kernels::expect_close(plain, fused, tolerance_of(precision()), "output");
  }
}

const tuners::TargetModules kTargets{.names = {"q_proj", "v_proj", "down_proj"}};
const tuners::TargetModules kOthers{.names = {"v_proj", "o_proj", "up_proj", "down_proj"}};

LoraOptions lora(int64_t r) { return {.r = r, .lora_alpha = 5, .target_modules = kTargets}; }

std::vector<BackendCase> backend_cases() {
  auto rslora = lora(4), dora = lora(3), pissa = lora(3), olora = lora(2), dropout = lora(3);
  rslora.use_rslora = true;
  dora.use_dora = true;
  pissa.init_lora_weights = "pissa";
  olora.init_lora_weights = "olora";
  olora.use_dora = true;
  dropout.lora_dropout = 0.3;
  auto dora_dropout = dora, bias = lora(3), other = lora(5), narrow = lora(3);
  dora_dropout.lora_dropout = 0.3;
  bias.lora_bias = true;
  other.target_modules = kOthers;
  narrow.lora_dtype = "bfloat16";
  auto other_dropout = other;
  other_dropout.lora_dropout = 0.2;
  return {{"plain", {lora(3)}},
          {"rslora", {rslora}},
          {"dora", {dora}},
          {"pissa", {pissa}},
          {"olora_dora", {olora}},
          {"dropout", {dropout}},
          {"dora_dropout", {dora_dropout}},
          {"bias", {bias}},
          {"bfloat16_factors", {narrow}},
          {"two", {lora(3), other}},
          {"two_dropouts", {dropout, other_dropout}},
          {"beside_dora", {dora, other}},
          {"three", {lora(1), other, pissa}}};
}

std::string backend_name(const testing::TestParamInfo<LoraKernelsTest::ParamType>& info) {
  const auto& [backend, dtype, biased] = info.param;
  return backend.label + (dtype == at::kFloat ? "_float32" : "_bfloat16") +
         (biased ? "_biased" : "");
}

INSTANTIATE_TEST_SUITE_P(Cases, LoraKernelsTest,
                         testing::Combine(testing::ValuesIn(backend_cases()),
                                          testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Bool()),
                         backend_name);

TEST(LoraKernelsGraphTest, OnlyTheFusedWayHasNodesOfItsOwn) {
  const TinyModel stored;
  const auto model = stored.load();
  tuners::SwiftModel swift(*model);
  auto options = lora(3);
  options.use_dora = true;
  expect_ok(swift.add_adapter("default", options));
  auto context = training(rows());
  EXPECT_TRUE(has_node(model->loss(rows(), context, 1.0, nullptr), "DoraLinear"));
  context.lora_kernels = Kernels::kPlain;
  EXPECT_FALSE(has_node(model->loss(rows(), context, 1.0, nullptr), "DoraLinear"));
}

}  // namespace
}  // namespace tunefleet::models
