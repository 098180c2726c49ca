#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/job_spec.h"
#include "tuners/config/model_shapes.h"

namespace tunefleet::coordinator {

/// What one rank's memory will hold at its fullest, part by part, in bytes.
struct MemoryForecast {
  int64_t runtime = 0;     ///< The program and its libraries, before a model is loaded.
  int64_t weights = 0;     ///< The base model in the job's torch_dtype.
  int64_t trainables = 0;  ///< Tensors of tuners; 0 for full tuning, which trains the weights, but
                           ///< for DPO, whose reference they are.
  int64_t gradients = 0;
  std::optional<int64_t> optimizer;  ///< Unset for GaLore, whose state follows from its projectors.
  int64_t activations = 0;           ///< Kept from the forward pass, and in work in the backward.

  std::optional<int64_t> total() const;
};

/// `trainable`: numbers that train. `tokens`: of one backward pass, the rank's rows together.
/// Activations are those of a decoder whose fused kernels are on; their coefficients were fitted
/// to measured runs (tests/coordinator/forecast/memory_forecast_test.cpp has these), and the total
/// is meant to be right within a quarter.
MemoryForecast forecast_memory(const JobSpec& spec, const tuners::ModelShapes& model,
                               int64_t trainable, int64_t tokens);

}  // namespace tunefleet::coordinator
