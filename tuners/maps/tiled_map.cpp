#include "tuners/maps/tiled_map.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "tuners/maps/tile_loops.h"
#include "tuners/parallel.h"

namespace tunefleet::tuners {
namespace {

using loops::kTile;

/// x in float32 without gaps.
at::Tensor plain(const at::Tensor& x) { return x.to(at::kFloat).contiguous(); }

/// Rooms for tiles of up to `width` features, of one thread.
class Rooms {
 public:
  Rooms(int64_t count, int64_t width)
      : size_(width * kTile),
        memory_(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count * size_))) {}
  float* operator[](int64_t i) { return memory_.get() + i * size_; }

 private:
  int64_t size_;
  std::unique_ptr<float[]> memory_;
};

/// Calls work(first token, tokens, rooms) for every tile, on all threads.
template <typename Work>
void over_tiles(int64_t tokens, int64_t rooms, int64_t width, const Work& work) {
  const int64_t tiles = (tokens + kTile - 1) / kTile;
  at::parallel_for(0, tiles, 1, [&](int64_t from, int64_t to) {
    Rooms own(rooms, width);
    for (int64_t first = from * kTile; first < std::min(to * kTile, tokens); first += kTile)
      work(first, std::min(kTile, tokens - first), own);
  });
}

/// Where float32 can be added to `target` in place: itself, or zeros that leave() adds to it.
class Sum {
 public:
  explicit Sum(at::Tensor& target)
      : target_(target),
        own_(target.scalar_type() != at::kFloat || !target.is_contiguous()),
        sum_(own_ ? at::zeros(target.sizes(), target.options().dtype(at::kFloat)) : target) {}
  float* data() { return sum_.mutable_data_ptr<float>(); }
  void leave() {
    if (own_) target_.add_(sum_.to(target_.scalar_type()));
  }

 private:
  at::Tensor& target_;
  bool own_;
  at::Tensor sum_;
};

}  // namespace

int64_t TiledMap::widest() const {
  return std::max({parts_.in->features(), parts_.in->coefficients(), parts_.out->features(),
                   parts_.out->coefficients()});
}

void TiledMap::add_product(const at::Tensor& x, const at::Tensor& values, at::Tensor& y) const {
  if (!x.is_cpu()) return LinearMap::add_product(x, values, y);
  const at::NoGradGuard no_grad;
  const auto rows = plain(x), prepared = parts_.core->prepared(values);
  const auto *from = rows.const_data_ptr<float>(), *factors = prepared.const_data_ptr<float>();
  const int64_t in = parts_.in->features(), out = parts_.out->features();
  Sum sum(y);
  float* to = sum.data();
  over_tiles(x.size(0), 2, widest(), [&](int64_t first, int64_t count, Rooms& rooms) {
    loops::to_tile(from + first * in, in, count, rooms[0]);
    float* spectrum = parts_.in->apply(rooms[0], rooms[1]);
    float* other = spectrum == rooms[0] ? rooms[1] : rooms[0];
    parts_.core->product(factors, spectrum, other);
    const float* made = parts_.out->transposed(other, spectrum);
    loops::add_tile(made, out, count, static_cast<float>(parts_.scale), to + first * out);
  });
  sum.leave();
}

at::Tensor TiledMap::add_gradients(const at::Tensor& x, const at::Tensor& values,
                                   const at::Tensor& g, at::Tensor* dx, bool wanted) const {
  if (!x.is_cpu()) return LinearMap::add_gradients(x, values, g, dx, wanted);
  const at::NoGradGuard no_grad;
  const auto rows = plain(x), grads = plain(g), prepared = parts_.core->prepared(values);
  const auto *xs = rows.const_data_ptr<float>(), *gs = grads.const_data_ptr<float>(),
             *factors = prepared.const_data_ptr<float>();
  const int64_t in = parts_.in->features(), out = parts_.out->features();
  std::optional<Sum> sum;
  if (dx != nullptr) sum.emplace(*dx);
  float* to = sum ? sum->data() : nullptr;
  // One part for each thread, added up in order: the same digits every time.
  std::vector<std::vector<float>> parts(static_cast<size_t>(at::get_num_threads()));
  over_tiles(x.size(0), 4, widest(), [&](int64_t first, int64_t count, Rooms& rooms) {
    loops::to_tile(gs + first * out, out, count, rooms[0]);
    const float* of_g = parts_.out->apply(rooms[0], rooms[1]);
    if (wanted) {
      auto& part = parts[static_cast<size_t>(at::get_thread_num())];
      part.resize(static_cast<size_t>(parts_.core->sums()));
      loops::to_tile(xs + first * in, in, count, rooms[2]);
      parts_.core->sampled(of_g, parts_.in->apply(rooms[2], rooms[3]), part.data());
    }
    if (to == nullptr) return;
    parts_.core->transposed(factors, of_g, rooms[2]);
    const float* made = parts_.in->transposed(rooms[2], rooms[3]);
    loops::add_tile(made, in, count, static_cast<float>(parts_.scale), to + first * in);
  });
  if (sum) sum->leave();
  if (!wanted) return {};
  auto sums = at::zeros({parts_.core->sums()}, rows.options());
  float* total = sums.mutable_data_ptr<float>();
  for (const auto& part : parts) {
    for (size_t i = 0; i < part.size(); ++i) total[i] += part[i];
  }
  return parts_.core->gradient(sums, parts_.scale);
}

}  // namespace tunefleet::tuners
