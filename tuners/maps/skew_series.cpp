#include "tuners/maps/skew_series.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <utility>

#include "tuners/maps/block_groups.h"

namespace tunefleet::tuners {
namespace {

/// The matrices of a series, by Horner's scheme: sum = Q A_1, A_k = c_k I + Q A_(k + 1),
/// A_K = c_K I.
class Series {
 public:
  Series(const Groups& groups, int64_t group, const at::Tensor& entries,
         const std::vector<double>& factors, Rooms& rooms)
      : w_(groups.w), size_(w_ * w_), q_(rooms.take(size_)) {
    fill(groups, group, entries);
    const auto last = static_cast<float>(factors.back());
    float* sum = rooms.take(size_);
    for (int64_t i = 0; i < size_; ++i) sum[i] = last * q_[i];
    for (size_t k = factors.size() - 1; k > 0; --k) {
      for (int64_t i = 0; i < w_; ++i) sum[i * (w_ + 1)] += static_cast<float>(factors[k - 1]);
      inner_.push_back(sum);
      sum = rooms.take(size_);
      product(q_, inner_.back(), sum);
    }
    sum_ = sum;
  }

  /// How many numbers of a room one takes.
  static int64_t room(const Groups& groups, const std::vector<double>& factors) {
    return groups.w * groups.w * (static_cast<int64_t>(factors.size()) + 1);
  }

  const float* sum() const { return sum_; }

  /// The transposed gradient of Q, added to `dq`, from that of the sum in `grad`, which is used up
  /// as is `other`.
  void backward(float last, float* grad, float* other, float* dq) const {
    for (auto a = inner_.rbegin(); a != inner_.rend(); ++a) {
      product(*a, grad, dq);
      std::fill(other, other + size_, 0.0F);
      product(grad, q_, other);
      std::swap(grad, other);
    }
    for (int64_t i = 0; i < size_; ++i) dq[i] += last * grad[i];
  }

 private:
  void fill(const Groups& groups, int64_t group, const at::Tensor& entries) {
    groups.for_blocks(group, [&](int64_t block, int64_t place) {
      const float* entry = entries.const_data_ptr<float>() + block * entries.size(1);
      for (int64_t i = 0; i < groups.b; ++i) {
        for (int64_t c = i + 1; c < groups.b; ++c, ++entry) {
          q_[place + i * w_ + c] = *entry;
          q_[place + c * w_ + i] = -*entry;
        }
      }
    });
  }

  /// to += left right.
  void product(const float* left, const float* right, float* to) const {
    loops::rows_product({left, w_}, right, w_, w_, {to, w_}, {to, w_});
  }

  int64_t w_, size_;
  float* q_;
  std::vector<const float*> inner_;  ///< A_(K - 1) … A_1.
  const float* sum_ = nullptr;
};

}  // namespace

at::Tensor skew_series(const at::Tensor& entries, int64_t b, const std::vector<double>& factors) {
  const at::NoGradGuard no_grad;
  const auto values = entries.contiguous();
  const Groups groups(entries.size(0), b);
  auto sums = at::empty({groups.n, b, b}, entries.options().requires_grad(false));
  float* to = sums.mutable_data_ptr<float>();
  over_groups(groups, 1, [&](int64_t group, int64_t) {
    Rooms rooms(Series::room(groups, factors));
    out_of_group(groups, group, Series(groups, group, values, factors, rooms).sum(), to);
  });
  return sums;
}

at::Tensor skew_series_backward(const at::Tensor& entries, int64_t b,
                                const std::vector<double>& factors, const at::Tensor& grad) {
  const at::NoGradGuard no_grad;
  const auto values = entries.contiguous(), grads = grad.contiguous();
  const Groups groups(entries.size(0), b);
  auto out = at::empty_like(values);
  float* to = out.mutable_data_ptr<float>();
  const int64_t w = groups.w;
  over_groups(groups, 1, [&](int64_t group, int64_t) {
    Rooms rooms(Series::room(groups, factors) + 3 * w * w);
    const Series series(groups, group, values, factors, rooms);
    float *turned = rooms.take(w * w), *other = rooms.take(w * w), *dq = rooms.take(w * w);
    into_group(groups, group, grads, true, turned);
    series.backward(static_cast<float>(factors.back()), turned, other, dq);
    groups.for_blocks(group, [&](int64_t block, int64_t place) {
      float* entry = to + block * values.size(1);
      for (int64_t i = 0; i < b; ++i) {
        for (int64_t c = i + 1; c < b; ++c)
          *entry++ = dq[place + c * w + i] - dq[place + i * w + c];  // dq is transposed
      }
    });
  });
  return out;
}

}  // namespace tunefleet::tuners
