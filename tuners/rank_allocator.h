#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tuners/adapter.h"

namespace tunefleet::tuners {

/// AdaLoRA's factors at one layer, updated in place: the update is B diag(E) A.
struct SvdTriplets {
  at::Tensor a;               ///< [r, in]
  at::Tensor e;               ///< [r, 1]
  at::Tensor b;               ///< [out, r]
  std::vector<bool> present;  ///< [r]: false for triplets that a file has left out.
};

/// Shares out AdaLoRA's ranks: keeps a running importance of every number, lets the number of
/// triplets fall by a cubic schedule, and sets E of the least important ones to zero.
/// Source: Zhang et al. 2023, arXiv:2303.10512, eq. 8-11 and algorithm 1; PEFT's RankAllocator.
class RankAllocator {
 public:
  struct Schedule {
    int64_t target_r = 8;
    int64_t tinit = 0, tfinal = 0, delta_t = 1;
    double beta1 = 0.85, beta2 = 0.85;
  };
  /// Which triplets are left, layer by layer.
  using Masks = std::vector<std::vector<bool>>;

  RankAllocator(const Schedule& schedule, std::vector<SvdTriplets> layers);

  /// Triplets that are left after step `step` (from 1) of `total`; whether it is one in which they
  /// are shared out.
  struct Budget {
    int64_t triplets = 0;
    bool allocates = false;
  };
  Budget budget(int64_t step, int64_t total) const;

  /// What follows an optimizer's update, the gradients still there: scores, and where the schedule
  /// says so masks. Returns true when `masks` are new; after the last allocation they are applied
  /// again.
  bool after_step(int64_t step, int64_t total, Masks& masks);

  /// Replaces `present` of every layer.
  void set_present(const Masks& present);
  /// The running means, by `paths` of the layers: for a run that is resumed.
  std::vector<AdapterTensor> state(const std::vector<std::string>& paths) const;

 private:
  struct Score {
    at::Tensor importance;   ///< Running mean of |value * gradient|.
    at::Tensor uncertainty;  ///< Running mean of its distance from that.
    at::Tensor product() const { return importance.mul(uncertainty); }
  };
  struct Scores {
    Score a, e, b;
  };
  void update_scores();
  void update(Score& score, const at::Tensor& value) const;
  at::Tensor triplet_scores(size_t layer) const;  ///< [r]
  Masks allocate(int64_t triplets);
  void apply(const Masks& masks);
  void forget();

  Schedule schedule_;
  std::vector<SvdTriplets> layers_;
  std::vector<Scores> scores_;
  int64_t initial_ = 0;  ///< Triplets at the start.
};

}  // namespace tunefleet::tuners
