#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tuners/maps/block_loops.h"
#include "tuners/parallel.h"

/// What the loops over blocks of a layer's features share: narrow blocks are worked on in groups,
/// as the diagonal of one matrix that fills vectors.
namespace tunefleet::tuners {

/// n blocks of width b as groups of neighbours: matrices [w, w] with the blocks on the diagonal and
/// zeros elsewhere.
struct Groups {
  Groups(int64_t blocks, int64_t width)
      : n(blocks),
        b(width),
        together(std::clamp<int64_t>(kGroupWidth / b, 1, std::max<int64_t>(n, 1))),
        w((together * b + loops::kBlockWidth - 1) / loops::kBlockWidth * loops::kBlockWidth),
        count((n + together - 1) / together) {}

  int64_t first(int64_t group) const { return group * together; }
  int64_t size(int64_t group) const { return std::min(together, n - first(group)); }

  /// Calls visit(number of the block among all, its place in the group's matrix).
  template <typename Visit>
  void for_blocks(int64_t group, const Visit& visit) const {
    for (int64_t k = 0; k < size(group); ++k) visit(first(group) + k, k * b * (w + 1));
  }

  static constexpr int64_t kGroupWidth = 32;  ///< Of groups of narrow blocks.

  int64_t n, b, together, w, count;
};

/// Matrices [w, w] and rows of one thread.
class Rooms {
 public:
  explicit Rooms(int64_t size) : memory_(static_cast<size_t>(size)) {}
  /// The next `size` numbers, zero.
  float* take(int64_t size) {
    float* taken = memory_.data() + taken_;
    taken_ += size;
    return taken;
  }

 private:
  std::vector<float> memory_;
  int64_t taken_ = 0;
};

/// Writes the blocks of `from` [n or 1, b, b], float32 without gaps, into the group's matrix, as
/// they are or transposed.
void into_group(const Groups& groups, int64_t group, const at::Tensor& from, bool transposed,
                float* matrix);
/// The other way: blocks [n, b, b] from a group's matrix.
void out_of_group(const Groups& groups, int64_t group, const float* matrix, float* blocks);

/// Calls work(group, part) for `parts` parts of each group, on all threads.
template <typename Work>
void over_groups(const Groups& groups, int64_t parts, const Work& work) {
  at::parallel_for(0, groups.count * parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) work(i / parts, i % parts);
  });
}

}  // namespace tunefleet::tuners
