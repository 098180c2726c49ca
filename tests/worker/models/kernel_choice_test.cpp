// What has a fused and a plain implementation gives the same losses and gradients with either.
#include "tests/worker/models/graph_nodes.h"
#include "tests/worker/models/tiny_model.h"

namespace tunefleet::models {
namespace {

using tuners::ForwardContext;
using tuners::Kernels;

TokenBatch rows() {
  auto batch = flat_batch({some_ids(9, 1), some_ids(1, 2), some_ids(14, 3), some_ids(6, 4)});
  for (const size_t masked : {2, 3, 12}) batch.labels[masked] = -100;
  return batch;
}

ForwardContext training(const TokenBatch& batch) {
  return {.training = true,
          .seed = 42,
          .step = 3,
          .token_keys = torch::arange(static_cast<int64_t>(batch.input_ids.size()), at::kLong)};
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

/// Largest difference relative to what is compared: 1e-5 in float32, the rounding of bfloat16.
double tolerance_of(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-5 : 4e-2; }

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

}  // namespace
}  // namespace tunefleet::models
