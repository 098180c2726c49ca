#include "tuners/maps/block_groups.h"

namespace tunefleet::tuners {

void into_group(const Groups& groups, int64_t group, const at::Tensor& from, bool transposed,
                float* matrix) {
  const int64_t b = groups.b, w = groups.w;
  const bool shared = from.size(0) == 1;
  const float* all = from.const_data_ptr<float>();
  groups.for_blocks(group, [&](int64_t block, int64_t place) {
    const float* own = all + (shared ? 0 : block) * b * b;
    for (int64_t i = 0; i < b; ++i) {
      if (!transposed) std::copy_n(own + i * b, b, matrix + place + i * w);
      for (int64_t c = 0; transposed && c < b; ++c) matrix[place + i * w + c] = own[c * b + i];
    }
  });
}

void out_of_group(const Groups& groups, int64_t group, const float* matrix, float* blocks) {
  const int64_t b = groups.b;
  groups.for_blocks(group, [&](int64_t block, int64_t place) {
    for (int64_t i = 0; i < b; ++i)
      std::copy_n(matrix + place + i * groups.w, b, blocks + (block * b + i) * b);
  });
}

}  // namespace tunefleet::tuners
