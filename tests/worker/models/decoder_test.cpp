#include "worker/models/decoder.h"

#include <fstream>

#include "tests/worker/models/tiny_model.h"
#include "worker/models/generation.h"

namespace tunefleet::models {
namespace {

class DecoderTest : public testing::TestWithParam<std::string> {};

TEST_P(DecoderTest, SequencesInABatchDoNotSeeEachOther) {
  const TinyModel tiny(GetParam());
  const auto model = tiny.load();
  const std::vector<std::vector<int32_t>> rows{some_ids(9, 1), some_ids(1, 2), some_ids(14, 3),
                                               some_ids(14, 4)};
  const auto together = logits_of(*model, flat_batch(rows));
  int64_t from = 0;
  for (const auto& row : rows) {
    const auto alone = logits_of(*model, single_sequence(row));
    kernels::expect_close(together.narrow(0, from, alone.size(0)), alone, 1e-5, "row");
    from += alone.size(0);
  }
}

TEST_P(DecoderTest, TheFutureDoesNotReachThePast) {
  const TinyModel tiny(GetParam());
  const auto model = tiny.load();
  auto ids = some_ids(12);
  const auto before = logits_of(*model, single_sequence(ids));
  ids.back() = (ids.back() + 1) % static_cast<int32_t>(TinyModel::kVocabulary);
  const auto after = logits_of(*model, single_sequence(ids));
  kernels::expect_close(after.narrow(0, 0, 11), before.narrow(0, 0, 11), 1e-6, "first eleven");
  EXPECT_GT((after[11] - before[11]).abs().max().item<double>(), 1e-3);
}

TEST_P(DecoderTest, CachedGenerationIsThatOfTheWholeText) {
  const TinyModel tiny(GetParam());
  const auto model = tiny.load();
  auto text = some_ids(7);
  const auto continued = generate(*model, text, {.max_new_tokens = 20, .stop_at_eos = false});
  ASSERT_EQ(continued.size(), 20U);
  for (const int32_t token : continued) {
    const auto logits = logits_of(*model, single_sequence(text));
    ASSERT_EQ(logits[logits.size(0) - 1].argmax().item<int64_t>(), token);
    text.push_back(token);
  }
}

/// In bfloat16 too, where a pass that multiplied in another way would differ by its rounding.
TEST_P(DecoderTest, CheckpointingChangesNoGradient) {
  const TinyModel tiny(GetParam());
  const auto batch = flat_batch({some_ids(9, 1), some_ids(14, 3)});
  const auto gradients = [&](at::ScalarType dtype, bool checkpointing) {
    auto model = tiny.load(dtype);
    std::vector<at::Tensor> trained;
    for (auto* slot : model->parameters()) {
      slot->override_value = slot->base.clone().requires_grad_(true);
      trained.push_back(slot->override_value);
    }
    model
        ->loss(batch, {.training = true}, 1.0, nullptr,
               checkpointing ? trained.front() : at::Tensor())
        .backward();
    std::vector<at::Tensor> out;
    for (const auto& t : trained) out.push_back(t.grad());
    return out;
  };
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto plain = gradients(dtype, false);
    const auto recomputed = gradients(dtype, true);
    for (size_t i = 0; i < plain.size(); ++i)
      kernels::expect_close(recomputed[i], plain[i], 1e-5, c10::toString(dtype));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Configs, DecoderTest,
    testing::Values("", R"("attention_bias": true)", R"("tie_word_embeddings": true)",
                    R"("rope_scaling": {"rope_type": "linear", "factor": 3.0})"));

TEST(DecoderLossTest, IsTheMeanOfTheShiftedRowsWhenScaledSo) {
  const TinyModel tiny;
  const auto model = tiny.load();
  auto batch = flat_batch({some_ids(6, 1), some_ids(8, 2)});
  for (const size_t masked : {0, 1, 6, 9}) batch.labels[masked] = -100;
  kernels::CrossEntropySums sums;
  const auto loss = model->loss(batch, {}, 1.0 / 10.0, &sums);
  const auto logits = logits_of(*model, batch);
  double wanted = 0.0;
  for (const auto& [from, to] : {std::pair{0, 6}, std::pair{6, 14}}) {
    for (int t = from; t + 1 < to; ++t) {
      const int32_t label = batch.labels[static_cast<size_t>(t) + 1];
      if (label >= 0) wanted -= logits[t].log_softmax(-1)[label].item<double>();
    }
  }
  EXPECT_EQ(sums.rows, 10);
  EXPECT_NEAR(loss.item<double>(), wanted / 10.0, 1e-4);
}

TEST(DecoderLoadTest, NamesTheTensorThatIsMissingOrOfAnotherShape) {
  const TinyModel untied(R"("tie_word_embeddings": true)");
  std::ofstream(untied.directory() / "config.json")
      << R"({"model_type": "llama", "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6})";
  const auto missing = Decoder::load(untied.directory(), {});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("lm_head.weight"), std::string::npos)
      << missing.error().message;

  const TinyModel wide(R"("intermediate_size": 41)");
  const auto shaped = Decoder::load(wide.directory(), {});
  ASSERT_FALSE(shaped);
  EXPECT_NE(shaped.error().message.find("mlp.gate_proj.weight, [40, 24] instead of [41, 24]"),
            std::string::npos)
      << shaped.error().message;
}

TEST(GenerationTest, SameSeedSameDrawsAndStopsAtTheEnd) {
  const TinyModel tiny;
  const auto model = tiny.load();
  const GenerationOptions options{
      .max_new_tokens = 60, .temperature = 2.0, .seed = 5, .stop_at_eos = true};
  const auto one = generate(*model, some_ids(4), options);
  EXPECT_EQ(one, generate(*model, some_ids(4), options));
  auto other = options;
  other.seed = 6;
  EXPECT_NE(one, generate(*model, some_ids(4), other));
  for (size_t i = 0; i + 1 < one.size(); ++i) EXPECT_NE(one[i], 2);
  other.top_k = 1;
  auto greedy = options;
  greedy.temperature = 0.0;
  EXPECT_EQ(generate(*model, some_ids(4), other), generate(*model, some_ids(4), greedy));
}

}  // namespace
}  // namespace tunefleet::models
