#include "tuners/maps/skew_series.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <utility>

#include "tuners/maps/block_groups.h"

namespace tunefleet::tuners {
namespace {

/// The matrices of a series, two powers at a time: sum = S_1, S_m = L_m + Q^2 S_(m + 1) with
/// L_m = c_(2m - 1) Q + c_(2m) Q^2, the last one alone.
class Series {
 public:
  Series(const Groups& groups, int64_t group, const at::Tensor& entries,
         const std::vector<double>& factors, Rooms& rooms)
      : factors_(factors), w_(groups.w), size_(w_ * w_), q_(rooms.take(size_)) {
    fill(groups, group, entries);
    q2_ = rooms.take(size_);
    product(q_, q_, q2_);
    sums_.resize(pairs());
    for (size_t m = pairs(); m > 1; --m) form(m, rooms);
  }

  /// How many numbers of a room one takes.
  static int64_t room(const Groups& groups, const std::vector<double>& factors) {
    return groups.w * groups.w * (static_cast<int64_t>(factors.size()) / 2 + 3);
  }

  const float* sum(Rooms& rooms) {
    form(1, rooms);
    return sums_[0];
  }

  /// What is added to dq has the gradient of the entry in row i and column c as its difference of
  /// (c, i) and (i, c). From the transposed gradient of the sum in `grad`, which is used up as are
  /// `other` and `dq2`; this and dq are zero before.
  void backward(float* grad, float* other, float* dq2, float* dq) const {
    for (size_t m = 1; m <= pairs(); ++m) {
      for (int64_t i = 0; i < size_; ++i) {
        dq[i] += factor(2 * m - 1) * grad[i];
        dq2[i] += factor(2 * m) * grad[i];
      }
      if (m == pairs()) break;
      product(sums_[m], grad, dq2);
      std::fill(other, other + size_, 0.0F);
      product(grad, q2_, other);  // Q^2 is its own transpose
      std::swap(grad, other);
    }
    // H of Q^2 gives H Q^T + Q^T H; less its transpose that is T^T - T for T = (H + H^T) Q.
    for (int64_t i = 0; i < w_; ++i) {
      for (int64_t c = 0; c < w_; ++c) other[i * w_ + c] = dq2[i * w_ + c] + dq2[c * w_ + i];
    }
    product(other, q_, dq);
  }

 private:
  size_t pairs() const { return (factors_.size() + 1) / 2; }
  /// Of the power k.
  float factor(size_t k) const {
    return k > factors_.size() ? 0.0F : static_cast<float>(factors_[k - 1]);
  }

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

  /// S_m from S_(m + 1).
  void form(size_t m, Rooms& rooms) {
    float* sum = rooms.take(size_);
    const float odd = factor(2 * m - 1), even = factor(2 * m);
    for (int64_t i = 0; i < size_; ++i) sum[i] = odd * q_[i] + even * q2_[i];
    if (m < pairs()) product(q2_, sums_[m], sum);
    sums_[m - 1] = sum;
  }

  /// to += left right.
  void product(const float* left, const float* right, float* to) const {
    loops::rows_product({left, w_}, right, w_, w_, {to, w_}, {to, w_});
  }

  const std::vector<double>& factors_;
  int64_t w_, size_;
  float *q_, *q2_ = nullptr;
  std::vector<const float*> sums_;  ///< S_1 …
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
    Series series(groups, group, values, factors, rooms);
    out_of_group(groups, group, series.sum(rooms), to);
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
    Rooms rooms(Series::room(groups, factors) + 4 * w * w);
    const Series series(groups, group, values, factors, rooms);
    float *turned = rooms.take(w * w), *other = rooms.take(w * w), *dq2 = rooms.take(w * w),
          *dq = rooms.take(w * w);
    into_group(groups, group, grads, true, turned);
    series.backward(turned, other, dq2, dq);
    groups.for_blocks(group, [&](int64_t block, int64_t place) {
      float* entry = to + block * values.size(1);
      for (int64_t i = 0; i < b; ++i) {
        for (int64_t c = i + 1; c < b; ++c)
          *entry++ = dq[place + c * w + i] - dq[place + i * w + c];
      }
    });
  });
  return out;
}

}  // namespace tunefleet::tuners
