#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "tuners/random.h"

/// Several updates of the same weight ("task tensors") made into one.
namespace tunefleet::tuners {

/// The ways to do it, by PEFT's names without `_svd`: linear (also `svd` and `cat`), ties,
/// dare_linear, dare_ties, magnitude_prune.
struct TaskArithmetic {
  std::string method = "linear";
  double density = 1.0;            ///< Part of the values that pruning keeps, [0, 1].
  bool sign_by_frequency = false;  ///< ties: elect signs by count, not by sum.
};

/// Keeps the int(density * n) values of largest magnitude, zeros the others.
at::Tensor magnitude_pruned(const at::Tensor& tensor, double density);
/// Keeps each value with probability `density`, scaled by 1 / density. Source: Yu et al. 2023,
/// arXiv:2311.03099 (DARE).
at::Tensor randomly_pruned(const at::Tensor& tensor, double density, RandomStream stream);

/// sum_i weights_i * tensors_i after the method's pruning; for ties over the values that agree with
/// the elected sign, divided by their number. `stream` draws DARE's masks. Tensors of one shape, at
/// least one. Source: Ilharco et al. 2022, arXiv:2212.04089; Yadav et al. 2023, arXiv:2306.01708
/// (TIES).
at::Tensor combine_tasks(const TaskArithmetic& how, const std::vector<at::Tensor>& tensors,
                         const std::vector<double>& weights, RandomStream stream);

}  // namespace tunefleet::tuners
