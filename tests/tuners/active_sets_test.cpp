#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <future>
#include <thread>

#include "tests/tuners/tiny_model.h"
#include "tuners/offload.h"
#include "tuners/swift.h"

/// Which adapters are active: for all threads or for each, and what becomes of the others' tensors.
namespace tunefleet::tuners {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

LoraOptions lora() {
  return {
      .r = 2, .target_modules = {.names = {"q_proj", "down_proj"}}, .init_lora_weights = "false"};
}

/// "a" and "b" are plain LoRAs, "head" also trains the output embedding.
void add_adapters(SwiftModel& swift) {
  LoraOptions with_head = lora();
  with_head.modules_to_save = {"lm_head"};
  for (const auto& [name, options] :
       {std::pair{"a", lora()}, std::pair{"b", lora()}, std::pair{"head", with_head}}) {
    ASSERT_TRUE(swift.add_adapter(name, options));
    randomise(*swift.find_adapter(name));
  }
  ASSERT_TRUE(swift.set_active_adapters({}));
}

at::Tensor logits_with(TinyModel& model, SwiftModel& swift, const std::vector<std::string>& names) {
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(swift.set_active_adapters(names));
  return model.logits();
}

TEST(PerThreadTest, EveryThreadRunsItsOwnAdaptersWhileOthersChangeTheirs) {
  TinyModel model;
  SwiftModel swift(model, 1, SwiftModel::ActiveSet::kPerThread);
  add_adapters(swift);
  const std::vector<std::vector<std::string>> sets{{}, {"a"}, {"b"}, {"a", "b"}, {"head"}};
  std::vector<at::Tensor> wanted;
  for (const auto& names : sets) wanted.push_back(logits_with(model, swift, names));
  for (size_t i = 1; i < sets.size(); ++i) ASSERT_FALSE(at::equal(wanted[0], wanted[i]));

  std::atomic<int> wrong = 0;
  const auto work = [&](size_t first) {
    for (size_t round = 0; round < 200; ++round) {
      const size_t set = (first + round) % sets.size();
      if (!at::equal(logits_with(model, swift, sets[set]), wanted[set])) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (size_t first = 0; first < 4; ++first) threads.emplace_back(work, first);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(PerThreadTest, ANewThreadSeesNoneActive) {
  TinyModel model;
  SwiftModel swift(model, 1, SwiftModel::ActiveSet::kPerThread);
  const at::Tensor base = model.logits();
  add_adapters(swift);
  ASSERT_TRUE(swift.activate_adapter("a"));
  std::thread([&] {
    EXPECT_THAT(swift.active_adapters(), IsEmpty());
    EXPECT_TRUE(at::equal(model.logits(), base));
    EXPECT_TRUE(swift.trainable_set().tensors.empty());
  }).join();
  EXPECT_THAT(swift.active_adapters(), ElementsAre("a"));
}

TEST(PerThreadTest, WhatWouldShowInOtherThreadsIsRefused) {
  TinyModel model;
  SwiftModel swift(model, 1, SwiftModel::ActiveSet::kPerThread);
  add_adapters(swift);
  ASSERT_TRUE(swift.activate_adapter("a"));
  EXPECT_THAT(swift.merge().error().message, HasSubstr("USE_UNIQUE_THREAD=0"));
  EXPECT_FALSE(swift.merge_and_unload());
  EXPECT_THAT(swift.deactivate_adapter("a", Offload::kCpu).error().message,
              HasSubstr("off-loading"));
  std::promise<void> active;
  std::promise<void> over;
  std::thread other([&] {
    EXPECT_TRUE(swift.activate_adapter("b"));
    active.set_value();
    over.get_future().wait();
  });
  active.get_future().wait();
  const auto refused = swift.delete_adapter("b");
  over.set_value();
  other.join();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("another thread"));
  EXPECT_TRUE(swift.delete_adapter("a"));
}

/// A system gives the ids of ended threads to new ones.
TEST(PerThreadTest, ANewThreadSeesNothingOfThoseThatEnded) {
  TinyModel model;
  SwiftModel swift(model, 1, SwiftModel::ActiveSet::kPerThread);
  const at::Tensor base = model.logits();
  add_adapters(swift);
  for (int i = 0; i < 20; ++i) {
    std::thread([&] {
      EXPECT_THAT(swift.active_adapters(), IsEmpty());
      EXPECT_TRUE(at::equal(model.logits(), base));
      EXPECT_TRUE(swift.activate_adapter("head"));
      EXPECT_FALSE(at::equal(model.logits(), base));
    }).join();
  }
  EXPECT_TRUE(at::equal(model.logits(), base));
}

TEST(PerThreadTest, WhatWasActiveInAThreadThatEndedCanBeDeleted) {
  TinyModel model;
  SwiftModel swift(model, 1, SwiftModel::ActiveSet::kPerThread);
  add_adapters(swift);
  std::thread([&] { EXPECT_TRUE(swift.set_active_adapters({"a", "head"})); }).join();
  for (const char* name : {"a", "head"}) {
    const auto status = swift.delete_adapter(name);
    EXPECT_TRUE(status) << status.error().message;
  }
  EXPECT_THAT(swift.adapter_names(), ElementsAre("b"));
}

TEST(PerThreadTest, AValueGoesWithItsThread) {
  const auto held = std::make_shared<int>(7);
  PerThread<std::shared_ptr<int>> value;
  value.give_each_thread_its_own();
  std::thread([&] {
    value = held;
    EXPECT_EQ(held.use_count(), 2);
  }).join();
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_FALSE(value.any_thread([](const auto& each) { return each != nullptr; }));
  auto other = std::make_unique<PerThread<std::shared_ptr<int>>>();
  other->give_each_thread_its_own();
  std::thread([&] {
    *other = held;
    other.reset();  // it goes before the thread does
    EXPECT_EQ(held.use_count(), 1);
  }).join();
}

TEST(PerThreadTest, TheModelsBaseIsSharedAgainAfterwards) {
  TinyModel model;
  const at::Tensor base = model.logits();
  {
    SwiftModel swift(model, 1, SwiftModel::ActiveSet::kPerThread);
    add_adapters(swift);
    ASSERT_TRUE(swift.activate_adapter("head"));
  }
  EXPECT_TRUE(at::equal(model.logits(), base));
  SwiftModel swift(model, 1, SwiftModel::ActiveSet::kShared);
  add_adapters(swift);
  const at::Tensor with_head = logits_with(model, swift, {"head"});
  std::thread([&] { EXPECT_TRUE(at::equal(model.logits(), with_head)); }).join();
}

TEST(PerThreadTest, AdaptersAreListedWhileAnotherThreadAddsAndDeletesSome) {
  TinyModel model;
  SwiftModel swift(model, 1, SwiftModel::ActiveSet::kPerThread);
  add_adapters(swift);
  std::atomic<bool> done = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      if (!swift.activate_adapter("a")) ++wrong;
      while (!done) {
        const auto names = swift.adapter_names();
        if (names.size() < 3 || names.size() > 4 || swift.find_adapter("a") == nullptr) ++wrong;
        if (swift.create_optimizer_param_groups(1e-3, 0.1).size() != 1) ++wrong;
        if (swift.get_trainable_parameters().empty()) ++wrong;
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(swift.add_adapter("more", lora()));
    EXPECT_TRUE(swift.delete_adapter("more"));
  }
  done = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

TEST(PerThreadTest, TheEnvironmentChooses) {
  setenv("USE_UNIQUE_THREAD", "0", 1);
  EXPECT_EQ(SwiftModel::active_set_from_environment(), SwiftModel::ActiveSet::kPerThread);
  setenv("USE_UNIQUE_THREAD", "1", 1);
  EXPECT_EQ(SwiftModel::active_set_from_environment(), SwiftModel::ActiveSet::kShared);
  unsetenv("USE_UNIQUE_THREAD");
  EXPECT_EQ(SwiftModel::active_set_from_environment(), SwiftModel::ActiveSet::kShared);
}

class OffloadTest : public testing::TestWithParam<Offload> {};

TEST_P(OffloadTest, AnAdapterComesBackAsItWas) {
  TinyModel model;
  SwiftModel swift(model);
  const at::Tensor base = model.logits();
  add_adapters(swift);
  const at::Tensor with_a = logits_with(model, swift, {"a"});
  const auto tensors = swift.find_adapter("a")->tensors();
  const at::Tensor values = tensors[0].tensor.detach().clone();

  ASSERT_TRUE(swift.deactivate_adapter("a", GetParam()));
  EXPECT_TRUE(at::equal(model.logits(), base));
  EXPECT_TRUE(at::equal(tensors[0].tensor, values)) << "saving works while it is away";
  ASSERT_TRUE(swift.deactivate_adapter("a", GetParam())) << "again is the same as once";
  ASSERT_TRUE(swift.activate_adapter("a"));
  EXPECT_TRUE(at::equal(model.logits(), with_a));
  EXPECT_TRUE(tensors[0].tensor.requires_grad());
  EXPECT_TRUE(tensors[0].tensor.is_leaf());
  EXPECT_TRUE(at::equal(swift.trainable_set().tensors[0].tensor, tensors[0].tensor));
  tensors[0].tensor.detach().add_(1.0);
  EXPECT_FALSE(at::equal(model.logits(), with_a)) << "it is writable again";
}

TEST_P(OffloadTest, SetActiveMovesAllOthers) {
  TinyModel model;
  SwiftModel swift(model);
  add_adapters(swift);
  const at::Tensor both = logits_with(model, swift, {"a", "b"});
  ASSERT_TRUE(swift.set_active_adapters({"b"}, GetParam()));
  ASSERT_TRUE(swift.set_active_adapters({"a", "b"}, GetParam()));
  EXPECT_TRUE(at::equal(model.logits(), both));
}

INSTANTIATE_TEST_SUITE_P(Places, OffloadTest,
                         testing::Values(Offload::kNone, Offload::kCpu, Offload::kMeta));

int64_t resident_kib() {
  std::ifstream file("/proc/self/status");
  std::string word;
  int64_t kib = 0;
  while (file >> word) {
    if (word == "RssAnon:") file >> kib;
  }
  return kib;
}

TEST(OffloadedTensorsTest, MetaGivesTheMemoryBack) {
  TinyModel model;
  SwiftModel swift(model);
  ASSERT_TRUE(swift.add_adapter("a", lora()));
  // A large adapter in the place of the small one: the sizes of tensors are the adapter's business.
  auto tensor = swift.find_adapter("a")->tensors()[0].tensor;
  tensor.set_data(at::ones({4096, 4096}));
  const int64_t before = resident_kib();
  ASSERT_TRUE(swift.deactivate_adapter("a", Offload::kMeta));
  EXPECT_LT(resident_kib(), before - 50 * 1024);
  EXPECT_EQ(tensor.sum().item<double>(), 4096.0 * 4096.0);
}

TEST(OffloadedTensorsTest, ADirectoryThatCannotBeWrittenIsNamedAndNothingIsLost) {
  TinyModel model;
  SwiftModel swift(model);
  add_adapters(swift);
  const at::Tensor with_a = logits_with(model, swift, {"a"});
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  setenv("TMPDIR", "/nonexistent", 1);
  const auto status = swift.deactivate_adapter("a", Offload::kMeta);
  before == nullptr ? unsetenv("TMPDIR") : setenv("TMPDIR", kept.c_str(), 1);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("TMPDIR"));
  EXPECT_THAT(swift.active_adapters(), IsEmpty());
  EXPECT_TRUE(at::equal(logits_with(model, swift, {"a"}), with_a));
}

TEST(OffloadedTensorsTest, WordsAreMsSwifts) {
  EXPECT_EQ(*offload_from_text(""), Offload::kNone);
  EXPECT_EQ(*offload_from_text("cpu"), Offload::kCpu);
  EXPECT_EQ(*offload_from_text("meta"), Offload::kMeta);
  EXPECT_FALSE(offload_from_text("disk"));
}

}  // namespace
}  // namespace tunefleet::tuners
