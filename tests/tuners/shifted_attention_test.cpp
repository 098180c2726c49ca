#include "tuners/shifted_attention.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>

namespace tunefleet::tuners {
namespace {

using testing::ElementsAre;

std::vector<int64_t> numbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

/// Causal attention of one head over these rows, in this order: q, k, v [n, D].
at::Tensor causal_head(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t n = q.size(0);
  auto scores = q.matmul(k.t()) / std::sqrt(static_cast<double>(q.size(1)));
  const auto later = at::ones({n, n}).triu(1).to(at::kBool);
  return at::softmax(scores.masked_fill(later, -INFINITY), -1).matmul(v);
}

/// What a model does at the end of an attention site.
at::Tensor plain_attention(const AttentionInput& in) {
  const int64_t heads = in.q.size(1), per_key = heads / in.k.size(1);
  auto out = at::zeros_like(in.q);
  for (size_t s = 0; s + 1 < in.boundaries->size(); ++s) {
    const int64_t begin = (*in.boundaries)[s], count = (*in.boundaries)[s + 1] - begin;
    for (int64_t h = 0; h < heads; ++h) {
      const auto rows = [&](const at::Tensor& x, int64_t head) {
        return x.narrow(0, begin, count).select(1, head);
      };
      out.narrow(0, begin, count)
          .select(1, h)
          .copy_(causal_head(rows(in.q, h), rows(in.k, h / per_key), rows(in.v, h / per_key)));
    }
  }
  return out.view({in.q.size(0), -1});
}

struct Shape {
  int64_t heads, key_heads;
  std::vector<int64_t> lengths;
  double ratio;
};

class ShiftedSparseAttentionTest : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    at::manual_seed(3);
    auto boundaries = std::make_shared<Boundaries>(1, 0);
    for (const int64_t length : GetParam().lengths)
      boundaries->push_back(boundaries->back() + static_cast<int32_t>(length));
    const int64_t n = boundaries->back(), d = 5;
    input_ = {.q = at::randn({n, GetParam().heads, d}),
              .k = at::randn({n, GetParam().key_heads, d}),
              .v = at::randn({n, GetParam().key_heads, d}),
              .boundaries = boundaries};
  }

  at::Tensor run(bool training) const {
    const ShiftedSparseAttention tuner(std::make_shared<const AttentionGrouping>(GetParam().ratio));
    return tuner.forward(input_, &plain_attention, {.training = training});
  }

  /// Head by head as the paper says it.
  at::Tensor by_hand() const {
    const int64_t heads = GetParam().heads, per_key = heads / GetParam().key_heads;
    auto out = at::zeros_like(input_.q);
    for (size_t s = 0; s < GetParam().lengths.size(); ++s) {
      const int64_t begin = (*input_.boundaries)[s], length = GetParam().lengths[s];
      auto group = static_cast<int64_t>(static_cast<double>(length) * GetParam().ratio);
      if (group == 0) group = length;
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t shift = h < heads / 2 ? 0 : group / 2;
        const auto rolled = [&](const at::Tensor& x, int64_t head) {
          return x.narrow(0, begin, length).select(1, head).roll(-shift, 0);
        };
        const auto q = rolled(input_.q, h), k = rolled(input_.k, h / per_key),
                   v = rolled(input_.v, h / per_key);
        std::vector<at::Tensor> parts;
        for (int64_t t = 0; t < length; t += group) {
          const int64_t n = std::min(group, length - t);
          parts.push_back(causal_head(q.narrow(0, t, n), k.narrow(0, t, n), v.narrow(0, t, n)));
        }
        out.narrow(0, begin, length).select(1, h).copy_(at::cat(parts).roll(shift, 0));
      }
    }
    return out.view({input_.q.size(0), -1});
  }

  AttentionInput input_;
};

TEST_P(ShiftedSparseAttentionTest, IsThePapersInTraining) {
  EXPECT_TRUE(at::allclose(run(true), by_hand(), 1e-5, 1e-6));
}

TEST_P(ShiftedSparseAttentionTest, IsPlainInEvaluation) {
  EXPECT_TRUE(at::equal(run(false), plain_attention(input_)));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ShiftedSparseAttentionTest,
    testing::Values(Shape{4, 2, {16, 8}, 0.25}, Shape{4, 4, {12}, 0.25},
                    Shape{9, 3, {12, 20}, 0.25},    // halves that share a head of keys; odd groups
                    Shape{6, 3, {11, 1, 7}, 0.25},  // shorter last groups, one token
                    Shape{1, 1, {10}, 0.5}, Shape{2, 1, {3, 2}, 0.25}, Shape{4, 2, {9}, 1.0}));

TEST(AttentionGroupsTest, OddGroupsComeBackWhereTheyWere) {
  const auto groups = AttentionGroups::make({0, 12}, 0.25, at::kCPU);
  EXPECT_THAT(*groups.boundaries, ElementsAre(0, 3, 6, 9, 12));
  EXPECT_THAT(numbers(groups.rolled), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0));
  EXPECT_TRUE(at::equal(groups.rolled.index_select(0, groups.back), at::arange(12)));
}

TEST(AttentionGroupsTest, WhatDoesNotDivideIsAShorterLastGroup) {
  const auto groups = AttentionGroups::make({0, 11, 14}, 0.25, at::kCPU);
  EXPECT_THAT(*groups.boundaries, ElementsAre(0, 2, 4, 6, 8, 10, 11, 14));
  EXPECT_TRUE(at::equal(groups.rolled.index_select(0, groups.back), at::arange(14)));
}

TEST(AttentionGroupsTest, SequencesAreRolledEachForItself) {
  const auto groups = AttentionGroups::make({0, 4, 8}, 0.5, at::kCPU);
  EXPECT_THAT(numbers(groups.rolled), ElementsAre(1, 2, 3, 0, 5, 6, 7, 4));
}

}  // namespace
}  // namespace tunefleet::tuners
