#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "worker/trainer/galore_projector.h"
#include "worker/trainer/optimizer.h"
#include "worker/trainer/update_rule.h"

namespace tunefleet::trainer {

/// GaLore: chosen matrices are followed in a low-rank subspace of their gradients, everything else
/// goes by the rule alone. With no matrix chosen it is the rule, tensor by tensor.
///   d = back(rule(project(G)));  W -= lr * d;  W -= lr * decay * W   (Adafactor decays first)
/// 8-bit weights are read, stepped and written with stochastic rounding, drawn from (seed, step,
/// path).
/// State: "<path>.step" (int64 []), the rule's and the projector's.
/// Source: Zhao et al. 2024, arXiv:2403.03507, algorithm 2; moments stay when the subspace moves.
class Galore : public Optimizer {
 public:
  struct Options {
    RuleOptions rule;
    GaloreOptions galore;
    /// Whether a tensor of that path is followed in a subspace; only matrices are asked for.
    std::function<bool(const std::string& path)> is_projected = [](const auto&) { return false; };
  };

  Galore(const std::vector<OptimizerGroup>& groups, Options options);

  void set_groups(const std::vector<OptimizerGroup>& groups) override;
  void step(double learning_rate) override;
  void step_one(const std::string& path, double learning_rate) override;
  NamedTensors state() const override;
  void load(const NamedTensors& state) override;

  /// Null when the tensor is not projected.
  const GaloreProjector* projector(const std::string& path) const;

 private:
  struct Slot {
    tuners::TrainableTensor entry;
    double lr_scale = 1.0;
    double weight_decay = 0.0;
    bool trains = false;
    int64_t steps = 0;
    std::unique_ptr<UpdateRule> rule;
    std::optional<GaloreProjector> projector;
  };
  void update(Slot& slot, double learning_rate);

  Options options_;
  std::map<std::string, Slot> slots_;  ///< By path.
};

}  // namespace tunefleet::trainer
