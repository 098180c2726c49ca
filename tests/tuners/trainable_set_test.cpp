#include "tuners/trainable_set.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace tunefleet::tuners {
namespace {

TrainableSet example() {
  return {{{"a.lora_A.default.weight", at::zeros({2, 3}), true}, {"b.bias", at::zeros({4}), false}},
          5};
}

TEST(TrainableSetTest, CountsItsElements) {
  EXPECT_EQ(example().numel(), 10);
  EXPECT_EQ(TrainableSet{}.numel(), 0);
}

TEST(TrainableSetTest, TheFingerprintIsOfPathsShapesAndVersionNotOfValues) {
  TrainableSet other = example();
  other.tensors[0].tensor.fill_(7);
  EXPECT_EQ(other.fingerprint(), example().fingerprint());
}

TEST(TrainableSetTest, AnyDifferenceChangesTheFingerprint) {
  const auto differs = [](auto change) {
    TrainableSet other = example();
    change(other);
    return other.fingerprint() != example().fingerprint();
  };
  EXPECT_TRUE(differs([](auto& set) { ++set.version; }));
  EXPECT_TRUE(differs([](auto& set) { set.tensors[0].path = "a.lora_B.default.weight"; }));
  EXPECT_TRUE(differs([](auto& set) { set.tensors[0].tensor = at::zeros({3, 2}); }));
  EXPECT_TRUE(differs([](auto& set) { set.tensors[0].tensor = at::zeros({2, 3}, at::kBFloat16); }));
  EXPECT_TRUE(differs([](auto& set) { std::swap(set.tensors[0], set.tensors[1]); }));
  EXPECT_TRUE(differs([](auto& set) { set.tensors.pop_back(); }));
}

}  // namespace
}  // namespace tunefleet::tuners
