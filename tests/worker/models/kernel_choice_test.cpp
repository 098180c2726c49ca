// What has a fused and a plain implementation gives the same losses and gradients with either.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>

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

constexpr double kFloatTolerance = 1e-5;    ///< Of the norm of what is compared.
constexpr double kOneRounding = 1.0 / 256;  ///< Of a bfloat16, relative.

double distance(const at::Tensor& seen, const at::Tensor& wanted) {
  const auto difference = seen.to(at::kFloat) - wanted.to(at::kFloat);
  return difference.norm().item<double>() / wanted.to(at::kFloat).norm().item<double>();
}

/// How far the fused way may be from float32, as a multiple of the plain way's own distance. The
/// low rank path takes factors and A x in the base's dtype where the plain one widens x (as PEFT
/// does).
constexpr double kBaseShare = 1.5, kLoraShare = 2.5;

/// In float32 the two ways agree. Where bfloat16 takes part each has its own roundings: then the
/// fused way is about as near as the plain one to `exact`, float32 from the same weights.
void expect_as_good(const at::Tensor& fused, const at::Tensor& plain, const at::Tensor& exact,
                    double share, const std::string& what) {
  if (!exact.defined()) {
    EXPECT_LE(distance(fused, plain), kFloatTolerance) << what;
    return;
  }
  const double of_plain = distance(plain, exact);
  EXPECT_LE(distance(fused, exact), share * of_plain + kOneRounding)
      << what << ", the plain way " << of_plain;
}

void expect_as_good(const Outcome& fused, const Outcome& plain, const std::optional<Outcome>& exact,
                    double share) {
  const auto of = [&](const auto& member) { return exact ? member(*exact) : at::Tensor(); };
  expect_as_good(fused.loss, plain.loss, of([](const Outcome& each) { return each.loss; }), share,
                 "loss");
  EXPECT_EQ(fused.sums.rows, plain.sums.rows);
  EXPECT_NEAR(fused.sums.loss, fused.loss.item<double>() * 23.0, kFloatTolerance * fused.sums.loss);
  if (!exact) {
    EXPECT_EQ(fused.sums.correct, plain.sums.correct);
  }
  ASSERT_EQ(fused.gradients.size(), plain.gradients.size());
  for (size_t i = 0; i < plain.gradients.size(); ++i) {
    expect_as_good(fused.gradients[i], plain.gradients[i],
                   of([&](const Outcome& each) { return each.gradients.at(i); }), share,
                   "gradient " + std::to_string(i));
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

  static bool narrow() { return GetParam().dtype != at::kFloat; }
  /// The same model in float32; null when it is that already.
  std::unique_ptr<Decoder> exact_model() const { return narrow() ? stored_.load() : nullptr; }

  const TinyModel stored_{GetParam().config, GetParam().model_type};
  const std::unique_ptr<Decoder> model_ = stored_.load(GetParam().dtype);
};

TEST_P(BaseKernelsTest, PlainOperationsGiveTheFusedLossAndGradients) {
  const auto trained = train_everything(*model_);
  auto context = training(rows());
  const auto fused = outcome_of(*model_, context, trained);
  context.base_kernels = Kernels::kPlain;
  const auto plain = outcome_of(*model_, context, trained);
  std::optional<Outcome> exact;
  if (const auto model = exact_model())
    exact = outcome_of(*model, context, train_everything(*model));
  expect_as_good(fused, plain, exact, kBaseShare);
  for (const char* operation : {"RmsNorm", "Rope", "SwiGlu", "LinearCrossEntropy"}) {
    EXPECT_TRUE(has_node(fused.loss, operation)) << operation;
    EXPECT_FALSE(has_node(plain.loss, operation)) << operation;
  }
}

TEST_P(BaseKernelsTest, EvaluationIsTheSame) {
  const at::NoGradGuard no_grad;
  const ForwardContext plainly{.base_kernels = Kernels::kPlain};
  const auto fused = model_->loss(rows(), {}, 1.0, nullptr);
  const auto plain = model_->loss(rows(), plainly, 1.0, nullptr);
  const auto model = exact_model();
  const auto exact = model ? model->loss(rows(), plainly, 1.0, nullptr) : at::Tensor();
  expect_as_good(fused, plain, exact, kBaseShare, "loss");
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
    tune(swift_, adapters());
    trained_ = trained(swift_);
    if (!narrow()) return;
    auto wide = adapters();
    for (auto& options : wide) options.lora_dtype.reset();
    exact_model_ = stored_.load();
    exact_swift_ = std::make_unique<tuners::SwiftModel>(*exact_model_);
    tune(*exact_swift_, wide);
    exact_trained_ = trained(*exact_swift_);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < trained_.size(); ++i) exact_trained_.at(i).copy_(trained_[i]);
  }
  static void tune(tuners::SwiftModel& swift, const std::vector<LoraOptions>& adapters) {
    for (const auto& options : adapters) {
      const std::string name = "adapter" + std::to_string(swift.adapter_names().size());
      expect_ok(swift.add_adapter(name, options));
      randomise(*swift.find_adapter(name), 0.1, 7 + swift.adapter_names().size());
    }
  }
  static std::vector<at::Tensor> trained(const tuners::SwiftModel& swift) {
    std::vector<at::Tensor> tensors;
    for (const auto& each : swift.trainable_set().tensors) tensors.push_back(each.tensor);
    return tensors;
  }
  static const std::vector<LoraOptions>& adapters() { return std::get<0>(GetParam()).adapters; }
  static at::ScalarType dtype() { return std::get<1>(GetParam()); }
  /// Whether bfloat16 takes part.
  static bool narrow() {
    return dtype() != at::kFloat ||
           std::any_of(adapters().begin(), adapters().end(),
                       [](const auto& each) { return each.lora_dtype.has_value(); });
  }
  static std::string config() { return std::get<2>(GetParam()) ? R"("attention_bias": true)" : ""; }

  const TinyModel stored_{config()};
  const std::unique_ptr<Decoder> model_ = stored_.load(dtype());
  tuners::SwiftModel swift_{*model_};
  std::vector<at::Tensor> trained_;
  /// The same in float32; null and empty when it is that already.
  std::unique_ptr<Decoder> exact_model_;
  std::unique_ptr<tuners::SwiftModel> exact_swift_;
  std::vector<at::Tensor> exact_trained_;
};

TEST_P(LoraKernelsTest, PlainOperationsGiveTheFusedLossAndGradients) {
  auto context = training(rows());
  const auto fused = outcome_of(*model_, context, trained_);
  context.lora_kernels = Kernels::kPlain;
  const auto plain = outcome_of(*model_, context, trained_);
  std::optional<Outcome> exact;
  if (exact_model_) exact = outcome_of(*exact_model_, context, exact_trained_);
  expect_as_good(fused, plain, exact, kLoraShare);
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
    const auto exact = exact_model_ ? exact_model_->hidden_states(rows(), context) : at::Tensor();
    expect_as_good(fused, plain, exact, kLoraShare, "output");
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
