#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "worker/trainer/optimizer.h"

namespace tunefleet::trainer {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
};

/// AdamW with decoupled decay (Loshchilov & Hutter 2019, arXiv:1711.05101), the same steps as
/// torch.optim.AdamW, by torch's fused kernel. Moments have the tensors' dtype and device.
/// State: "<path>.step" (float32 []), "<path>.exp_avg", "<path>.exp_avg_sq".
class AdamW : public Optimizer {
 public:
  AdamW(const std::vector<OptimizerGroup>& groups, const AdamWOptions& options);

  void set_groups(const std::vector<OptimizerGroup>& groups) override;
  void step(double learning_rate) override;
  void step_one(const std::string& path, double learning_rate) override;
  NamedTensors state() const override;
  void load(const NamedTensors& state) override;

 private:
  struct State {
    at::Tensor tensor;               ///< Whose state it is; in the groups or not.
    at::Tensor step;                 ///< On the tensor's device.
    at::Tensor exp_avg, exp_avg_sq;  ///< Undefined before the first step.
  };
  void step_tensors(const OptimizerGroup& group,
                    const std::vector<const tuners::TrainableTensor*>& tensors,
                    double learning_rate);

  AdamWOptions options_;
  std::vector<OptimizerGroup> groups_;
  std::map<std::string, State> states_;  ///< By path.
};

}  // namespace tunefleet::trainer
