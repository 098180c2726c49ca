// What every group promises, checked by each rank; mpirun starts it at several sizes. Exit code 0:
// all held.

#include <ATen/ATen.h>

#include <iostream>

#include "worker/collective/gradient_sync.h"
#include "worker/collective/group.h"

namespace {

using namespace tunefleet;

int failures = 0;

void expect(bool holds, const char* what, const collective::Group& group) {
  if (holds) return;
  ++failures;
  std::cerr << "rank " << group.rank() << " of " << group.size() << ": " << what << "\n";
}

void check_all_reduce(collective::Group& group) {
  for (const int64_t size : {0, 1, 3, 1000, 300001}) {
    auto flat = at::arange(size, at::kFloat) * (group.rank() + 1);
    group.all_reduce_sum(flat);
    const int64_t factor = static_cast<int64_t>(group.size()) * (group.size() + 1) / 2;
    expect(at::allclose(flat, at::arange(size, at::kFloat) * factor), "all-reduce gives the sum",
           group);
  }
  at::manual_seed(group.rank());
  auto noise = at::randn({4099});
  group.all_reduce_sum(noise);
  const tuners::TrainableSet bits{{{"noise", noise}}, 0};
  const auto digests = group.all_gather(collective::bits_digest(bits));
  for (const uint64_t digest : digests)
    expect(digest == digests[0], "all-reduce gives the same bits", group);
  auto narrow = at::full({5}, group.rank() + 1).to(at::kBFloat16);
  group.all_reduce_sum(narrow);
  expect(narrow[0].item<float>() == static_cast<float>(group.size() * (group.size() + 1) / 2),
         "bfloat16 is summed", group);
}

void check_small_values(collective::Group& group) {
  std::vector<double> values{group.rank() + 0.5, -1.0};
  group.broadcast(values);
  expect(values[0] == 0.5, "broadcast gives rank 0's value", group);
  const auto sums = group.sum_to_root({1.0, static_cast<double>(group.rank())});
  if (group.rank() == 0) expect(sums[0] == group.size(), "the root gets the sum", group);
  const auto all = group.all_gather(static_cast<uint64_t>(group.rank()) * 7);
  for (size_t r = 0; r < all.size(); ++r) expect(all[r] == r * 7, "all-gather is by rank", group);
  group.barrier();
}

void check_sync(collective::Group& group) {
  const auto a = at::zeros({3, 2}).requires_grad_(true);
  const auto b = at::zeros({5}).requires_grad_(true);
  const tuners::TrainableSet set{{{"a", a}, {"b", b}}, 1};
  collective::GradientSync sync(set, group);
  expect(sync.bytes() == 11 * 4, "what is reduced is the trainable tensors", group);
  (a.sum() * (group.rank() + 1) + b.sum()).backward();
  sync.all_reduce();
  expect(a.grad()[0][0].item<int>() == group.size() * (group.size() + 1) / 2,
         "gradients are summed", group);
  expect(b.grad()[4].item<int>() == group.size(), "gradients are summed", group);
  if (group.size() == 1) return;
  const tuners::TrainableSet other{{{"a", a}}, static_cast<uint64_t>(group.rank())};
  try {
    collective::GradientSync wrong(other, group);
    expect(false, "ranks with different sets are refused", group);
  } catch (const c10::Error&) {
  }
}

}  // namespace

int main(int, char** argv) {
  auto group = collective::make_group({});
  expect(group->size() == std::atoi(argv[1]), "the group has the ranks that were started", *group);
  check_all_reduce(*group);
  check_small_values(*group);
  check_sync(*group);
  return failures == 0 ? 0 : 1;
}
