#include "tuners/maps/block_rotation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "tuners/maps/block_groups.h"

namespace tunefleet::tuners {
namespace {

using loops::ConstRows;
using loops::Rows;

constexpr int64_t kWidest = 128;  ///< A matrix of 64 KiB.
constexpr int64_t kChunk = 64;    ///< Tokens that are worked on while they are in the cache.

at::Tensor plain(const at::Tensor& x) { return x.to(at::kFloat).contiguous(); }

/// A group's columns of rows of width n b, for one thread: as they lie where they fill the group's
/// matrix, else copied into a room with zeros beside them.
class Columns {
 public:
  Columns(const Groups& groups, int64_t group, Rooms& rooms)
      : width_(groups.n * groups.b),
        first_(groups.first(group) * groups.b),
        count_(groups.size(group) * groups.b),
        w_(groups.w),
        room_(count_ == w_ ? nullptr : rooms.take(room(groups))) {}

  static int64_t room(const Groups& groups) { return groups.w * kChunk; }

  ConstRows read(const float* rows, int64_t first, int64_t count) {
    const float* from = rows + first * width_ + first_;
    if (room_ == nullptr) return {from, width_};
    for (int64_t t = 0; t < count; ++t) std::copy_n(from + t * width_, count_, room_ + t * w_);
    return {room_, w_};
  }
  /// Where the columns are to be written; leave() brings them there.
  Rows written(float* rows, int64_t first) {
    if (room_ != nullptr) return {room_, w_};
    return {rows + first * width_ + first_, width_};
  }
  void leave(float* rows, int64_t first, int64_t count) const {
    float* to = rows + first * width_ + first_;
    for (int64_t t = 0; room_ != nullptr && t < count; ++t)
      std::copy_n(room_ + t * w_, count_, to + t * width_);
  }

 private:
  int64_t width_, first_, count_, w_;
  float* room_;
};

/// How the rows are split where there are more threads than groups.
int64_t parts_of(const Groups& groups, int64_t tokens) {
  const int64_t chunks = std::max<int64_t>(1, (tokens + kChunk - 1) / kChunk);
  return std::clamp<int64_t>(at::get_num_threads() / std::max<int64_t>(groups.count, 1), 1, chunks);
}

/// Calls work(first token, tokens) for the chunks of one part.
template <typename Work>
void over_chunks(int64_t tokens, int64_t part, int64_t parts, const Work& work) {
  const int64_t chunks = (tokens + kChunk - 1) / kChunk;
  for (int64_t i = chunks * part / parts; i < chunks * (part + 1) / parts; ++i)
    work(i * kChunk, std::min(kChunk, tokens - i * kChunk));
}

}  // namespace

bool has_block_loops(const at::Tensor& x, int64_t b) {
  const auto dtype = x.scalar_type();
  return x.is_cpu() && (dtype == at::kFloat || dtype == at::kBFloat16) && b > 0 && b <= kWidest;
}

at::Tensor blocks_rotated(const at::Tensor& x, const at::Tensor& d) {
  const at::NoGradGuard no_grad;
  const auto rows = plain(x), blocks = d.contiguous();
  const int64_t tokens = x.size(0), b = d.size(1);
  const Groups groups(x.size(1) / b, b);
  auto y = at::empty_like(rows);
  const float* from = rows.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  const int64_t parts = parts_of(groups, tokens);
  over_groups(groups, parts, [&](int64_t group, int64_t part) {
    Rooms rooms(groups.w * groups.w + 2 * Columns::room(groups));
    Columns in(groups, group, rooms), out(groups, group, rooms);
    float* turn = rooms.take(groups.w * groups.w);
    into_group(groups, group, blocks, false, turn);
    over_chunks(tokens, part, parts, [&](int64_t first, int64_t count) {
      const auto own = in.read(from, first, count);
      loops::rows_product(own, turn, count, groups.w, own, out.written(to, first));
      out.leave(to, first, count);
    });
  });
  return y.to(x.scalar_type());
}

std::pair<at::Tensor, at::Tensor> blocks_rotated_backward(const at::Tensor& x, const at::Tensor& d,
                                                          const at::Tensor& g, bool wants_dx,
                                                          bool wants_dd) {
  const at::NoGradGuard no_grad;
  const auto grads = plain(g), blocks = d.contiguous();
  const auto rows = wants_dd ? plain(x) : at::Tensor();
  const int64_t tokens = g.size(0), b = d.size(1);
  const Groups groups(g.size(1) / b, b);
  const int64_t parts = parts_of(groups, tokens);
  at::Tensor dx, sums;
  if (wants_dx) dx = at::empty_like(grads);
  if (wants_dd) sums = at::empty({parts, groups.n, b, b}, grads.options());
  const float* gs = grads.const_data_ptr<float>();
  const float* xs = wants_dd ? rows.const_data_ptr<float>() : nullptr;
  float* to = wants_dx ? dx.mutable_data_ptr<float>() : nullptr;
  float* of_d = wants_dd ? sums.mutable_data_ptr<float>() : nullptr;
  over_groups(groups, parts, [&](int64_t group, int64_t part) {
    Rooms rooms(2 * groups.w * groups.w + 2 * Columns::room(groups));
    Columns in(groups, group, rooms), other(groups, group, rooms);
    float *turn = rooms.take(groups.w * groups.w), *sum = rooms.take(groups.w * groups.w);
    into_group(groups, group, blocks, true, turn);
    over_chunks(tokens, part, parts, [&](int64_t first, int64_t count) {
      const auto own = in.read(gs, first, count);
      if (xs != nullptr)
        loops::add_rows_gradient(other.read(xs, first, count), own, count, groups.w, sum);
      if (to == nullptr) return;
      loops::rows_product(own, turn, count, groups.w, own, other.written(to, first));
      other.leave(to, first, count);
    });
    if (of_d != nullptr) out_of_group(groups, group, sum, of_d + part * groups.n * b * b);
  });
  if (wants_dx) dx = dx.to(g.scalar_type());
  if (wants_dd) {
    sums = parts == 1 ? sums[0] : sums.sum(0);
    if (d.size(0) == 1 && groups.n != 1) sums = sums.sum(0, /*keepdim=*/true);
  }
  return {dx, sums};
}

}  // namespace tunefleet::tuners
