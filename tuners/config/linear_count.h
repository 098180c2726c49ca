#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/model_shapes.h"
#include "tuners/config/tuner_options.h"

/// Sizes of what tuners train at linear layers.
namespace tunefleet::tuners {

/// A linear layer that a tuner acts on.
struct LinearShape {
  std::string path;
  int64_t in = 0;
  int64_t out = 0;
};

/// The linear layers among `targets`, in their order.
std::vector<LinearShape> linear_layers(const std::vector<std::string>& targets,
                                       const ModelShapes& model);

/// Whether count_linear() knows the tuner.
bool counts_linear(const TunerOptions& options);

/// The numbers that a fresh adapter trains at all of `layers` together; unset for a tuner that is
/// not known here. kInvalidArgument where the trainer refuses: a rank above a layer's size, a width
/// that its blocks do not divide.
Result<std::optional<int64_t>> count_linear(const TunerOptions& options,
                                            const std::vector<LinearShape>& layers);

}  // namespace tunefleet::tuners
