#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tuners/config/shira_options.h"
#include "tuners/mapped_linear.h"

namespace tunefleet::tuners {

/// A sparse update of a frozen linear layer: r (in + out) of its weights, chosen at random, train.
///   y = next(x) + x S^T
/// Starts as the identity: the entries of S are zero.
/// Source: Bhardwaj et al. 2024, arXiv:2406.13175; PEFT's tuners/shira.
class ShiraLinear : public MappedLinear {
 public:
  /// `fresh`: false leaves the indices to a file. kInvalidArgument is the caller's: r (in + out) is
  /// at most in * out.
  ShiraLinear(const LinearSite& site, const std::string& adapter_name, const ShiraOptions& options,
              uint64_t seed, bool fresh);

  std::vector<LayerTensor> tensors() const override;
  /// Takes up indices that a file has brought. Throws std::invalid_argument when they lie outside
  /// of the layer.
  void take_indices();

 private:
  int64_t in_, out_;
  at::Tensor indices_;  ///< int32 [2, n]: rows and columns.
};

/// SHiRA on a whole model.
class ShiraAdapter : public LinearAdapter {
 public:
  /// kInvalidArgument: the options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);
  void loaded() override;

 private:
  using LinearAdapter::LinearAdapter;
};

}  // namespace tunefleet::tuners
