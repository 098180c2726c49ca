#include "worker/trainer/preference_objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <stdexcept>

#include "proto/job_spec_parser.h"
#include "tests/worker/models/tiny_model.h"
#include "tests/worker/trainer/small_llama.h"
#include "tuners/config/full_options.h"
#include "tuners/config/job_options.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::trainer {
namespace {

/// Pairs with answers of different lengths: chosen of 3 + i tokens, rejected of 5, after a prompt
/// of 4.
TrainingData some_pairs(int64_t pairs) {
  TrainingData data;
  data.examples_per_row = 2;
  const auto add = [&](uint32_t prompt, uint32_t answer, size_t length) {
    auto ids = models::some_ids(4, prompt);
    const auto more = models::some_ids(length, answer);
    ids.insert(ids.end(), more.begin(), more.end());
    auto labels = ids;
    std::fill_n(labels.begin(), 4, kIgnoreLabel);
    data.train.append(ids, labels);
  };
  for (int64_t i = 0; i < pairs; ++i) {
    const auto seed = static_cast<uint32_t>(i);
    add(seed, 100 + seed, static_cast<size_t>(3 + i));
    add(seed, 200 + seed, 5);
  }
  data.eval = data.train;
  return data;
}

JobSpec job(const std::string& yaml) {
  auto spec = to_result(parse_job_yaml("model: m\ndataset: d\nrlhf_type: dpo\n" + yaml, "job.yaml",
                                       tuners::check_tuners));
  if (!spec) throw std::runtime_error(spec.error().message);
  return *spec;
}

void attach(const JobSpec& spec, const models::Decoder& model, tuners::SwiftModel& swift) {
  if (spec.tuner_type == "full")
    models::expect_ok(attach_full(swift, tuners::full_options_from_job(spec), {}, true));
  const auto made = tuners::tuner_options_of_job(
      spec, {.hidden_size = model.config().hidden_size, .max_steps = 5});
  if (!made) throw std::runtime_error(made.error().message);
  for (const auto& [name, options] : *made) models::expect_ok(swift.add_adapter(name, options));
}

/// Sums of -log p of each example's labelled tokens, straight from the logits.
std::vector<double> logps_of(const models::Decoder& model, const TrainingData& data) {
  const at::NoGradGuard no_grad;
  std::vector<double> logps;
  for (int64_t example = 0; example < data.train.size(); ++example) {
    const auto ids = data.train.input_ids(example);
    const auto labels = data.train.labels(example);
    const auto logits =
        models::logits_of(model, models::single_sequence({ids.begin(), ids.end()})).to(at::kDouble);
    double sum = 0.0;
    for (size_t t = 1; t < labels.size(); ++t) {
      if (labels[t] == kIgnoreLabel) continue;
      sum += logits[static_cast<int64_t>(t) - 1].log_softmax(-1)[labels[t]].item<double>();
    }
    logps.push_back(sum);
  }
  return logps;
}

std::map<std::string, double> as_map(const Figures& figures) {
  return {figures.begin(), figures.end()};
}

class ReferenceTest : public testing::TestWithParam<const char*> {};

/// What has been trained is in the policy alone; the reference stays what the base says.
TEST_P(ReferenceTest, IsTheBaseWhateverTheTunersHaveBecome) {
  const auto spec = job(GetParam());
  const auto model = small_llama();
  const auto data = some_pairs(3);
  const auto base = logps_of(*model, data);
  tuners::SwiftModel swift(*model, 3);
  attach(spec, *model, swift);
  {
    const at::NoGradGuard no_grad;
    at::manual_seed(4);
    for (const auto& entry : swift.trainable_set().tensors) {
      if (!entry.int8) entry.tensor.add_(at::randn_like(entry.tensor) * 0.05);
    }
  }
  const auto trained = logps_of(*model, data);
  PreferenceObjective objective(data, *model, swift, preference_options_of_job(spec));
  objective.begin_evaluation({{0, 1}, {2}}, {});
  Sums sums(objective.sum_count());
  objective.measure(0, {}, sums);
  objective.measure(1, {}, sums);
  auto figures = as_map(objective.figures(sums));
  double chosen = 0.0, rejected = 0.0, loss = 0.0;
  for (size_t i = 0; i < 3; ++i) {
    const double c = 0.1 * (trained[2 * i] - base[2 * i]);
    const double r = 0.1 * (trained[2 * i + 1] - base[2 * i + 1]);
    chosen += c / 3;
    rejected += r / 3;
    loss += std::log1p(std::exp(r - c)) / 3;
  }
  EXPECT_NEAR(figures["rewards/chosen"], chosen, 1e-5);
  EXPECT_NEAR(figures["rewards/rejected"], rejected, 1e-5);
  EXPECT_NEAR(figures["logps/chosen"], (trained[0] + trained[2] + trained[4]) / 3, 1e-4);
  EXPECT_NEAR(objective.mean_loss(sums), loss, 1e-5);
  EXPECT_EQ(objective.count(sums), 3);
  // Everything is back on.
  EXPECT_EQ(logps_of(*model, data), trained);
}

INSTANTIATE_TEST_SUITE_P(
    Tuners, ReferenceTest,
    testing::Values("tuner_type: lora", "tuner_type: llamapro\nllamapro_num_new_blocks: 2",
                    "tuner_type: lora\ninit_weights: pissa",
                    "tuner_type: lora\nmodules_to_save: [lm_head]",
                    "tuners: {p: {type: prompt_tuning, num_virtual_tokens: 3}}", "tuner_type: ia3",
                    "tuner_type: lora\nneftune_noise_alpha: 5", "tuner_type: full",
                    "tuner_type: full\nlisa_activated_layers: 2",
                    "tuner_type: full\nuse_galore: true\ngalore_quantization: true"));

/// Gradients of a step's loss, added up over its parts.
std::vector<at::Tensor> gradients(const JobSpec& spec, const Parts& parts, double* value) {
  const auto model = small_llama();
  const auto data = some_pairs(4);
  tuners::SwiftModel swift(*model, 3);
  attach(spec, *model, swift);
  const auto trainable = swift.trainable_set().tensors;
  {
    const at::NoGradGuard no_grad;
    at::manual_seed(4);
    for (const auto& entry : trainable) entry.tensor.add_(at::randn_like(entry.tensor) * 0.05);
  }
  PreferenceObjective objective(data, *model, swift, preference_options_of_job(spec));
  const tuners::ForwardContext context{.training = true, .seed = 1};
  objective.begin_step({0, 1, 2, 3}, parts, context);
  Sums sums(objective.sum_count());
  const auto anchor = spec.gradient_checkpointing ? trainable.front().tensor : at::Tensor();
  for (size_t part = 0; part < parts.size(); ++part) {
    const auto done = objective.loss(part, context, anchor, sums);
    done.loss.backward();
    *value += done.value;
  }
  EXPECT_NEAR(*value, objective.mean_loss(sums), 1e-12);
  std::vector<at::Tensor> out;
  for (const auto& entry : trainable) out.push_back(entry.tensor.grad());
  return out;
}

class StepTest : public testing::TestWithParam<const char*> {};

TEST_P(StepTest, DoesNotDependOnHowItIsCutIntoParts) {
  const auto spec = job(std::string("loss_type: ") + GetParam() + "\nrpo_alpha: 0.5\nbeta: 0.2\n");
  double together = 0.0, apart = 0.0;
  const auto whole = gradients(spec, {{0, 1, 2, 3}}, &together);
  const auto parts = gradients(spec, {{0, 1}, {2}, {3}}, &apart);
  EXPECT_NEAR(together, apart, 1e-6 * std::max(1.0, std::abs(together)));
  for (size_t i = 0; i < whole.size(); ++i)
    kernels::expect_close(parts[i], whole[i], 1e-5, "gradient");
}

TEST_P(StepTest, CheckpointingGivesTheSameGradients) {
  const std::string yaml = std::string("loss_type: ") + GetParam() + "\nlora_dropout: 0\n";
  double fused = 0.0, recomputed = 0.0;
  const auto one = gradients(job(yaml + "gradient_checkpointing: false"), {{0, 1, 2, 3}}, &fused);
  const auto other = gradients(job(yaml), {{0, 1, 2, 3}}, &recomputed);
  EXPECT_NEAR(fused, recomputed, 1e-9 * std::max(1.0, std::abs(fused)));
  for (size_t i = 0; i < one.size(); ++i) kernels::expect_close(other[i], one[i], 1e-5, "gradient");
}

INSTANTIATE_TEST_SUITE_P(Types, StepTest, testing::Values("sigmoid", "ipo", "apo_down"));

TEST(PreferenceObjective, StartsAtTheReferenceWithLogTwo) {
  const auto spec = job("lora_dropout: 0");
  const auto model = small_llama();
  const auto data = some_pairs(2);
  tuners::SwiftModel swift(*model, 3);
  attach(spec, *model, swift);
  PreferenceObjective objective(data, *model, swift, preference_options_of_job(spec));
  const tuners::ForwardContext context{.training = true};
  objective.begin_step({0, 1}, {{0, 1}}, context);
  Sums sums(objective.sum_count());
  EXPECT_NEAR(objective.loss(0, context, {}, sums).value, std::log(2.0), 1e-6);
  EXPECT_NEAR(as_map(objective.figures(sums))["rewards/margins"], 0.0, 1e-5);
}

TEST(PreferenceObjective, RefusesDataThatIsNotOfPairs) {
  const auto model = small_llama();
  tuners::SwiftModel swift(*model, 3);
  EXPECT_THROW(PreferenceObjective(TrainingData{}, *model, swift, {}), std::invalid_argument);
}

}  // namespace
}  // namespace tunefleet::trainer
