#include "tuners/maps/hadamard_map.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "tuners/maps/hadamard_loops.h"
#include "tuners/parallel.h"

namespace tunefleet::tuners {
namespace {

constexpr int64_t kRows = 32;  ///< Of the weight, for one thread at a time.

/// Calls work(first row, factors of some rows) for all rows, on all threads.
template <typename Work>
void over_rows(const at::Tensor& a, const at::Tensor& b, const Work& work) {
  const int64_t rows = b.size(0), r = b.size(1), blocks = (rows + kRows - 1) / kRows;
  const float *of_a = a.const_data_ptr<float>(), *of_b = b.const_data_ptr<float>();
  at::parallel_for(0, blocks, 1, [&](int64_t from, int64_t to) {
    for (int64_t first = from * kRows; first < std::min(to * kRows, rows); first += kRows) {
      work(first, loops::LowRankFactors{.a = of_a,
                                        .b = of_b + first * r,
                                        .r = r,
                                        .rows = std::min(kRows, rows - first),
                                        .width = a.size(1)});
    }
  });
}

class HadamardMap : public WeightMap {
 public:
  explicit HadamardMap(const at::Tensor& base) : base_(base.detach()) {}

  at::Tensor added_to(const at::Tensor& weight, const Tensors& values) const override {
    const at::NoGradGuard no_grad;
    if (!weight.is_cpu()) return weight.addcmul(values[1].matmul(values[0]), base_);
    const auto start = weight.contiguous(), own = base_.contiguous(), a = values[0].contiguous(),
               b = values[1].contiguous();
    auto sum = at::empty_like(start);
    const auto *from = start.const_data_ptr<float>(), *base = own.const_data_ptr<float>();
    float* to = sum.mutable_data_ptr<float>();
    over_rows(a, b, [&](int64_t first, const loops::LowRankFactors& factors) {
      const int64_t at = first * factors.width;
      loops::add_hadamard(factors, from + at, base + at, to + at);
    });
    return sum;
  }

  Tensors gradients(const at::Tensor& grad, const Tensors& values) const override {
    const at::NoGradGuard no_grad;
    if (!grad.is_cpu()) {
      const auto factors = grad.mul(base_);  // d(B A)
      return {values[1].t().matmul(factors), factors.matmul(values[0].t())};
    }
    const auto g = grad.contiguous(), own = base_.contiguous(), a = values[0].contiguous(),
               b = values[1].contiguous();
    auto db = at::empty_like(b), da = at::zeros_like(a);
    const auto *of_sum = g.const_data_ptr<float>(), *base = own.const_data_ptr<float>();
    float *to = db.mutable_data_ptr<float>(), *total = da.mutable_data_ptr<float>();
    const int64_t width = a.size(1), size = a.numel();
    // One part for each thread, added up in order: the same digits every time.
    std::vector<std::vector<float>> parts(static_cast<size_t>(at::get_num_threads()));
    over_rows(a, b, [&](int64_t first, const loops::LowRankFactors& factors) {
      auto& part = parts[static_cast<size_t>(at::get_thread_num())];
      part.resize(static_cast<size_t>(size + 8 * width));  // and a room
      loops::hadamard_gradients(factors, base + first * width, of_sum + first * width,
                                to + first * factors.r, part.data(), part.data() + size);
    });
    for (const auto& part : parts) {
      if (part.empty()) continue;
      for (int64_t i = 0; i < size; ++i) total[i] += part[static_cast<size_t>(i)];
    }
    return {da, db};
  }

 private:
  at::Tensor base_;
};

}  // namespace

std::shared_ptr<const WeightMap> hadamard_map(const at::Tensor& base) {
  return std::make_shared<HadamardMap>(base);
}

}  // namespace tunefleet::tuners
