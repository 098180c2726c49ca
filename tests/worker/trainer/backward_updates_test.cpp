#include "worker/trainer/backward_updates.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/trainer/small_llama.h"
#include "worker/collective/gradient_sync.h"
#include "worker/trainer/galore.h"

namespace tunefleet::trainer {
namespace {

/// Alone; remembers the largest number of gradients that existed when one was summed.
class CountingGroup : public collective::Group {
 public:
  explicit CountingGroup(tuners::TrainableSet set) : set_(std::move(set)) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  std::string backend() const override { return "counting"; }
  void all_reduce_sum(at::Tensor&) override {
    most = std::max(most, std::count_if(set_.tensors.begin(), set_.tensors.end(),
                                        [](const auto& e) { return e.tensor.grad().defined(); }));
    ++calls;
  }
  void broadcast(std::vector<double>&) override {}
  std::vector<double> sum_to_root(const std::vector<double>& values) override { return values; }
  std::vector<uint64_t> all_gather(uint64_t value) override { return {value}; }
  void barrier() override {}
  [[noreturn]] void abort(int) override { std::abort(); }

  int64_t most = 0, calls = 0;

 private:
  tuners::TrainableSet set_;
};

Galore::Options galore() {
  return {.rule = {},
          .galore = {.rank = 4, .update_proj_gap = 2},
          .is_projected = [](const std::string& path) {
            return path.find("proj") != std::string::npos;
          }};
}

TEST(BackwardUpdates, StepAsAllAtOnceAndFreeEachGradient) {
  for (const bool in_8_bits : {false, true}) {
    tuners::FullOptions options;
    if (in_8_bits) options.int8_modules = {"all-linear"};
    const auto one = small_llama();
    const auto other = small_llama();
    FullyTuned together(*one, options);
    FullyTuned apart(*other, options);
    const auto set = apart.swift.trainable_set();
    CountingGroup group(set);
    Galore all({{.tensors = together.swift.trainable_set().tensors, .weight_decay = 0.1}},
               galore());
    Galore each({{.tensors = set.tensors, .weight_decay = 0.1}}, galore());
    collective::GradientSync sync(together.swift.trainable_set(), group);
    BackwardUpdates updates(set, group, each);
    for (int64_t step = 0; step < 4; ++step) {
      sync.zero();
      mean_loss(*one, some_rows()).backward();
      const double norm = sync.norm();
      all.step(1e-2);
      updates.begin(1e-2);
      mean_loss(*other, some_rows()).backward();
      EXPECT_NEAR(updates.end(), norm, 1e-5 * norm);
      for (const auto& entry : set.tensors) EXPECT_FALSE(entry.tensor.grad().defined());
    }
    EXPECT_EQ(group.most, 1);
    EXPECT_EQ(group.calls, 4 * static_cast<int64_t>(set.tensors.size()));
    EXPECT_EQ(updates.bytes(), 4 * set.numel());
    EXPECT_EQ(collective::bits_digest(set),
              collective::bits_digest(together.swift.trainable_set()));
  }
}

TEST(BackwardUpdates, AGradientThatIsNotFiniteStopsTheUpdates) {
  const auto model = small_llama();
  FullyTuned tuned(*model);
  const auto set = tuned.swift.trainable_set();
  const auto group = collective::make_solo_group();
  Galore optimizer({{.tensors = set.tensors}}, galore());
  BackwardUpdates updates(set, *group, optimizer);
  const uint64_t before = collective::bits_digest(set);
  updates.begin(1e-2);
  (mean_loss(*model, some_rows()) * std::numeric_limits<float>::infinity()).backward();
  EXPECT_FALSE(std::isfinite(updates.end()));
  EXPECT_EQ(collective::bits_digest(set), before);
}

TEST(BackwardUpdates, ATensorWithoutGradientIsNamed) {
  const auto w = at::ones({2}).requires_grad_(true);
  const auto v = at::ones({2}).requires_grad_(true);
  const auto group = collective::make_solo_group();
  const tuners::TrainableSet set{{{"w", w}, {"the.path", v}}, 0};
  Galore optimizer({{.tensors = set.tensors}}, galore());
  BackwardUpdates updates(set, *group, optimizer);
  updates.begin(1e-2);
  w.sum().backward();
  try {
    updates.end();
    FAIL() << "nothing was thrown";
  } catch (const c10::Error& e) {
    EXPECT_NE(std::string(e.what()).find("the.path"), std::string::npos);
  }
  updates.begin(1e-2);
  w.sum().backward();
  EXPECT_THROW(w.sum().backward(), c10::Error);
}

TEST(BackwardUpdates, LeaveNothingBehind) {
  const auto w = at::ones({2}).requires_grad_(true);
  const auto group = collective::make_solo_group();
  const tuners::TrainableSet set{{{"w", w}}, 0};
  Galore optimizer({{.tensors = set.tensors}}, galore());
  { const BackwardUpdates updates(set, *group, optimizer); }
  w.sum().backward();
  EXPECT_TRUE(w.grad().defined());
}

}  // namespace
}  // namespace tunefleet::trainer
