#include "worker/collective/counted_group.h"

#include <utility>

namespace tunefleet::collective {
namespace {

class CountedGroup : public Group {
 public:
  CountedGroup(std::unique_ptr<Group> group, std::atomic<uint64_t>& entered)
      : group_(std::move(group)), entered_(entered) {}

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  int local_rank() const override { return group_->local_rank(); }
  int local_size() const override { return group_->local_size(); }
  std::string backend() const override { return group_->backend(); }
  void all_reduce_sum(at::Tensor& flat) override { counted().all_reduce_sum(flat); }
  void broadcast(std::vector<double>& values) override { counted().broadcast(values); }
  std::vector<double> sum_to_root(const std::vector<double>& values) override {
    return counted().sum_to_root(values);
  }
  std::vector<uint64_t> all_gather(uint64_t value) override { return counted().all_gather(value); }
  void barrier() override { counted().barrier(); }
  void abort(int exit_code) override { group_->abort(exit_code); }

 private:
  Group& counted() {
    ++entered_;
    return *group_;
  }

  std::unique_ptr<Group> group_;
  std::atomic<uint64_t>& entered_;
};

}  // namespace

std::unique_ptr<Group> count_calls(std::unique_ptr<Group> group, std::atomic<uint64_t>& entered) {
  return std::make_unique<CountedGroup>(std::move(group), entered);
}

}  // namespace tunefleet::collective
