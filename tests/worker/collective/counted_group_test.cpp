#include "worker/collective/counted_group.h"

#include <gtest/gtest.h>

namespace tunefleet::collective {
namespace {

/// A rank of two whose every collective call looks at the count of the moment.
class WatchingGroup : public Group {
 public:
  explicit WatchingGroup(std::atomic<uint64_t>& entered) : entered_(entered) {}
  int rank() const override { return 1; }
  int size() const override { return 2; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  std::string backend() const override { return "watching"; }
  void all_reduce_sum(at::Tensor&) override { seen = entered_; }
  void broadcast(std::vector<double>&) override { seen = entered_; }
  std::vector<double> sum_to_root(const std::vector<double>& values) override {
    seen = entered_;
    return values;
  }
  std::vector<uint64_t> all_gather(uint64_t value) override {
    seen = entered_;
    return {0, value};
  }
  void barrier() override { seen = entered_; }
  void abort(int exit_code) override { std::_Exit(exit_code); }

  uint64_t seen = 0;

 private:
  std::atomic<uint64_t>& entered_;
};

TEST(CountedGroup, CountsEachCallBeforeItBegins) {
  std::atomic<uint64_t> entered = 0;
  auto watching = std::make_unique<WatchingGroup>(entered);
  const WatchingGroup& inner = *watching;
  const auto group = count_calls(std::move(watching), entered);
  at::Tensor flat;
  std::vector<double> values{1.0};
  group->all_reduce_sum(flat);
  EXPECT_EQ(inner.seen, 1U);
  group->broadcast(values);
  EXPECT_EQ(inner.seen, 2U);
  EXPECT_EQ(group->sum_to_root(values), values);
  EXPECT_EQ(inner.seen, 3U);
  EXPECT_EQ(group->all_gather(7), (std::vector<uint64_t>{0, 7}));
  EXPECT_EQ(inner.seen, 4U);
  group->barrier();
  EXPECT_EQ(inner.seen, 5U);
  EXPECT_EQ(entered, 5U);
}

TEST(CountedGroup, IsTheSameRankOtherwise) {
  std::atomic<uint64_t> entered = 0;
  const auto group = count_calls(std::make_unique<WatchingGroup>(entered), entered);
  EXPECT_EQ(group->rank(), 1);
  EXPECT_EQ(group->size(), 2);
  EXPECT_EQ(group->local_rank(), 0);
  EXPECT_EQ(group->local_size(), 1);
  EXPECT_EQ(group->backend(), "watching");
  EXPECT_EQ(entered, 0U);
}

}  // namespace
}  // namespace tunefleet::collective
