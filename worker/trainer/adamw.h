#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tuners/trainable_set.h"

namespace tunefleet::trainer {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;  ///< Not applied to tensors that do not decay.
};

/// AdamW with decoupled decay (Loshchilov & Hutter 2019, arXiv:1711.05101), the same steps as
/// torch.optim.AdamW, by torch's fused kernel. Moments have the tensors' dtype and device.
class AdamW {
 public:
  AdamW(const tuners::TrainableSet& set, const AdamWOptions& options);

  /// One step on the tensors' .grad.
  void step(double learning_rate);

  using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
  /// "<path>.exp_avg", "<path>.exp_avg_sq" for every tensor: what a checkpoint keeps.
  NamedTensors state() const;
  /// Takes a saved state over. Throws std::invalid_argument naming a tensor that is missing or of
  /// another shape.
  void load(const NamedTensors& state, int64_t steps_done);

 private:
  struct Part {
    std::vector<at::Tensor> tensors, exp_avgs, exp_avg_sqs, steps;
    std::vector<std::string> paths;
    double weight_decay = 0.0;
  };
  AdamWOptions options_;
  std::vector<Part> parts_;  ///< Decaying, then not.
};

}  // namespace tunefleet::trainer
