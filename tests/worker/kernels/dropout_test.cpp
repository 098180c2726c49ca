#include "worker/kernels/dropout.h"

#include "tests/worker/kernels/compare.h"

namespace tunefleet::kernels {
namespace {

TEST(DropoutTest, KeepsItsShareAndItsMean) {
  const auto x = at::ones({400, 576});
  for (const double p : {0.0, 0.05, 0.5, 0.9}) {
    const auto y = dropout(x, at::arange(400), 99, p);
    EXPECT_NEAR(y.eq(0).to(at::kFloat).mean().item<double>(), p, 0.01) << "p " << p;
    EXPECT_NEAR(y.mean().item<double>(), 1.0, 0.05) << "p " << p;
  }
}

TEST(DropoutTest, MaskBelongsToTheTokenNotToTheBatch) {
  at::manual_seed(1);
  const auto x = at::randn({10, 33});
  const auto keys = at::tensor({5, 1, 9, 1000000007, 42, 3, 2, 8, 7, 6}, at::kLong);
  const auto whole = dropout(x, keys, 4, 0.4);
  const auto first = dropout(x.narrow(0, 0, 3), keys.narrow(0, 0, 3), 4, 0.4);
  const auto rest = dropout(x.narrow(0, 3, 7), keys.narrow(0, 3, 7), 4, 0.4);
  EXPECT_TRUE(at::equal(whole, at::cat({first, rest})));
}

TEST(DropoutTest, DtypesDrawTheSameMask) {
  const auto x = at::ones({50, 64});
  const auto keys = at::arange(50);
  const auto narrow = dropout(x.to(at::kBFloat16), keys, 4, 0.4);
  EXPECT_TRUE(at::equal(dropout(x, keys, 4, 0.4).eq(0), narrow.eq(0)));
}

TEST(DropoutTest, StepsAndStreamsDrawAnew) {
  const auto x = at::ones({50, 64});
  const auto keys = at::arange(50);
  const tuners::ForwardContext one{.training = true, .seed = 1, .step = 1, .token_keys = keys};
  const tuners::ForwardContext two{.training = true, .seed = 1, .step = 2, .token_keys = keys};
  const auto base = dropout(x, keys, dropout_key(one, 5), 0.5);
  for (const uint64_t other : {dropout_key(two, 5), dropout_key(one, 6)}) {
    const double agreement =
        dropout(x, keys, other, 0.5).eq(base).to(at::kFloat).mean().item<double>();
    EXPECT_NEAR(agreement, 0.5, 0.05);
  }
}

TEST(DropoutTest, RefusesWrongArguments) {
  EXPECT_THROW(dropout(at::ones({2, 2}), at::arange(2), 0, 1.0), c10::Error);
  EXPECT_THROW(dropout(at::ones({2, 2}), at::arange(3), 0, 0.5), c10::Error);
  EXPECT_THROW(dropout(at::ones({2, 2}), {}, 0, 0.5), c10::Error);
}

}  // namespace
}  // namespace tunefleet::kernels
