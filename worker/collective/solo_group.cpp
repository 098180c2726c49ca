#include <cstdlib>

#include "worker/collective/group.h"

namespace tunefleet::collective {
namespace {

class SoloGroup : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  std::string backend() const override { return "solo"; }
  void all_reduce_sum(at::Tensor&) override {}
  void broadcast(std::vector<double>&) override {}
  std::vector<double> sum_to_root(const std::vector<double>& values) override { return values; }
  std::vector<uint64_t> all_gather(uint64_t value) override { return {value}; }
  void barrier() override {}
  void abort(int exit_code) override { std::_Exit(exit_code); }
};

}  // namespace

std::unique_ptr<Group> make_solo_group() { return std::make_unique<SoloGroup>(); }

}  // namespace tunefleet::collective
