#include "coordinator/forecast/memory_forecast.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tunefleet::coordinator {
namespace {

/// SmolLM2-135M: what counts of it.
tuners::ModelShapes smol_lm2() {
  tuners::ModelShapes model;
  model.parameters = {{"model", {134'515'008}}};
  model.dtype = "float32";
  model.hidden_size = 576;
  model.intermediate_size = 1536;
  model.num_layers = 30;
  model.num_attention_heads = 9;
  model.num_key_value_heads = 3;
  model.head_dim = 64;
  model.vocab_size = 49152;
  return model;
}

/// LoRA of rank 8 on every linear layer.
constexpr int64_t kLora = 2'442'240;

/// A run of tunefleet-trainer: its largest resident size (getrusage) over two steps. Of other
/// shapes and tuners: tests/bench/plan_memory.py.
struct Measured {
  const char* dtype;
  bool checkpointing;
  int64_t tokens;  ///< Of one backward pass.
  int64_t mib;
  bool full = false;
};

class MeasuredMemory : public testing::TestWithParam<Measured> {};

TEST_P(MeasuredMemory, IsForecastWithinAQuarter) {
  JobSpec spec;
  spec.torch_dtype = GetParam().dtype;
  spec.gradient_checkpointing = GetParam().checkpointing;
  if (GetParam().full) spec.tuner_type = "full";
  const int64_t trains = GetParam().full ? smol_lm2().parameter_count() : kLora;
  const auto forecast = forecast_memory(spec, smol_lm2(), trains, GetParam().tokens).total();
  ASSERT_TRUE(forecast);
  const auto measured = static_cast<double>(GetParam().mib << 20);
  EXPECT_NEAR(static_cast<double>(*forecast) / measured, 1.0, 0.25)
      << *forecast / (1 << 20) << " MiB, measured " << GetParam().mib;
}

INSTANTIATE_TEST_SUITE_P(
    Runs, MeasuredMemory,
    testing::Values(Measured{"float32", true, 16, 706}, Measured{"float32", true, 512, 832},
                    Measured{"float32", true, 1280, 972}, Measured{"float32", false, 16, 731},
                    Measured{"float32", false, 512, 1520}, Measured{"float32", false, 1280, 2664},
                    Measured{"bfloat16", true, 16, 441},
                    Measured{"bfloat16", true, 512, 1541, true}));

TEST(MemoryForecast, PartsFollowWhatTrains) {
  JobSpec spec;
  spec.torch_dtype = "float32";
  const auto lora = forecast_memory(spec, smol_lm2(), kLora, 256);
  EXPECT_EQ(lora.weights, 4 * 134'515'008LL);
  EXPECT_EQ(lora.trainables, 4 * kLora);
  EXPECT_EQ(lora.gradients, 4 * kLora);
  EXPECT_EQ(lora.optimizer, 8 * kLora);
  spec.tuner_type = "full";
  spec.torch_dtype = "bfloat16";
  const auto full = forecast_memory(spec, smol_lm2(), 134'515'008, 256);
  EXPECT_EQ(full.trainables, 0);
  EXPECT_EQ(full.gradients, full.weights);
  EXPECT_EQ(full.optimizer, 2 * full.weights);
  spec.rlhf_type = "dpo";
  EXPECT_EQ(forecast_memory(spec, smol_lm2(), 134'515'008, 256).trainables, full.weights);
  spec.optim = "adafactor";
  EXPECT_LT(*forecast_memory(spec, smol_lm2(), 134'515'008, 256).optimizer, full.weights / 50);
}

TEST(MemoryForecast, OfGaLoreIsNotGuessed) {
  JobSpec spec;
  spec.tuner_type = "full";
  spec.use_galore = true;
  EXPECT_FALSE(forecast_memory(spec, smol_lm2(), 134'515'008, 256).total());
}

TEST(MemoryForecast, GrowsWithTheTokensAndWithoutFusedKernels) {
  JobSpec spec;
  const auto few = forecast_memory(spec, smol_lm2(), kLora, 256).activations;
  EXPECT_GT(forecast_memory(spec, smol_lm2(), kLora, 512).activations, few);
  spec.use_liger_kernel = false;
  EXPECT_GT(forecast_memory(spec, smol_lm2(), kLora, 256).activations, few);
}

}  // namespace
}  // namespace tunefleet::coordinator
