#include "worker/kernels/attention.h"

#include "tests/worker/kernels/compare.h"

namespace tunefleet::kernels {
namespace {

struct AttentionCase {
  std::vector<int32_t> boundaries;
  int64_t heads, kv_heads, dim, window;
};

class AttentionTest : public testing::TestWithParam<AttentionCase> {};

/// Softmax over what each token may see, written out with one mask over all tokens.
at::Tensor written_out(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const AttentionCase& c) {
  const int64_t n = q.size(0);
  auto mask = at::zeros({n, n}, at::kBool);
  for (size_t s = 0; s + 1 < c.boundaries.size(); ++s) {
    for (int64_t i = c.boundaries[s]; i < c.boundaries[s + 1]; ++i) {
      for (int64_t j = c.boundaries[s]; j <= i; ++j) mask[i][j] = c.window <= 0 || i - j < c.window;
    }
  }
  const auto group = c.heads / c.kv_heads;
  const auto keys = k.repeat_interleave(group, 1).transpose(0, 1);
  const auto values = v.repeat_interleave(group, 1).transpose(0, 1);
  auto scores =
      q.transpose(0, 1).matmul(keys.transpose(1, 2)) / std::sqrt(static_cast<double>(c.dim));
  scores = scores.masked_fill(mask.logical_not(), -INFINITY);
  return scores.softmax(-1).matmul(values).transpose(0, 1).reshape({n, c.heads * c.dim});
}

void expect_as_written_out(const AttentionCase& c, at::ScalarType dtype, double tolerance) {
  at::manual_seed(8);
  const int64_t n = c.boundaries.back();
  std::vector<at::Tensor> ours{draw({n, c.heads, c.dim}, dtype),
                               draw({n, c.kv_heads, c.dim}, dtype),
                               draw({n, c.kv_heads, c.dim}, dtype)};
  std::vector<at::Tensor> theirs;
  for (const auto& t : ours) theirs.push_back(wide(t));
  const auto dy = at::randn({n, c.heads * c.dim}).to(dtype);
  const auto y = causal_attention(ours[0], ours[1], ours[2], c.boundaries, c.window,
                                  1.0 / std::sqrt(static_cast<double>(c.dim)));
  EXPECT_EQ(y.scalar_type(), dtype);
  y.backward(dy);
  const auto wanted = written_out(theirs[0], theirs[1], theirs[2], c);
  wanted.backward(dy.to(at::kFloat));
  expect_close(y, wanted, tolerance, "y");
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ours[i].grad().scalar_type(), dtype);
    expect_close(ours[i].grad(), theirs[i].grad(), tolerance, "gradient");
  }
}

TEST_P(AttentionTest, EachSequenceSeesOnlyItsPast) {
  expect_as_written_out(GetParam(), at::kFloat, 1e-5);
}

TEST_P(AttentionTest, InBfloat16Too) { expect_as_written_out(GetParam(), at::kBFloat16, 1e-2); }

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest,
                         testing::Values(AttentionCase{{0, 1}, 1, 1, 2, 0},
                                         AttentionCase{{0, 9}, 4, 4, 8, 0},
                                         AttentionCase{{0, 9, 18, 20}, 6, 2, 8, 0},
                                         AttentionCase{{0, 3, 3, 10}, 2, 1, 4, 0},
                                         AttentionCase{{0, 12, 17}, 4, 2, 8, 3},
                                         AttentionCase{{0, 5}, 2, 2, 4, 1}));

TEST(CachedAttentionTest, TheLastTokensSeeWhatTheySawInTheWhole) {
  at::manual_seed(9);
  const at::NoGradGuard no_grad;
  for (const int64_t window : {int64_t{0}, int64_t{4}}) {
    const auto q = at::randn({11, 6, 8});
    const auto k = at::randn({11, 2, 8});
    const auto v = at::randn({11, 2, 8});
    const auto whole = causal_attention(q, k, v, {0, 11}, window, 0.3);
    for (const int64_t last : {1, 2, 11}) {
      const auto part = cached_attention(q.narrow(0, 11 - last, last), k, v, window, 0.3);
      expect_close(part, whole.narrow(0, 11 - last, last), 1e-5, "last tokens");
    }
  }
}

TEST(AttentionErrorTest, BoundariesMustCoverTheTokens) {
  const auto q = at::zeros({4, 1, 2});
  EXPECT_THROW(causal_attention(q, q, q, {0, 3}, 0, 1.0), c10::Error);
  EXPECT_THROW(causal_attention(q, q, q, {4}, 0, 1.0), c10::Error);
}

}  // namespace
}  // namespace tunefleet::kernels
