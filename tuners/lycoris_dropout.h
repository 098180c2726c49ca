#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "tuners/sites.h"

namespace tunefleet::tuners {

/// The two dropouts of LoHa and LoKr. Drawn once for an optimizer step, by (seed, step, layer): all
/// ranks and all micro-steps of a step leave out the same.
/// Source: PEFT's tuners/{loha,lokr}/layer.py.
class LycorisDropout {
 public:
  struct Rates {
    double rank = 0.0;    ///< Chance of an output of the update to be left out.
    double module = 0.0;  ///< Chance of the whole update to be left out.
    bool scale = true;    ///< Whether the outputs that are left grow by the share left out.
  };
  /// `path` and `adapter_name` of the layer choose the streams.
  LycorisDropout(const Rates& rates, const std::string& path, const std::string& adapter_name);

  bool any() const { return rates_.rank > 0.0 || rates_.module > 0.0; }
  /// Whether the update is left out in this pass.
  bool skips(const ForwardContext& context) const;
  /// Factors for the update's outputs in this pass, [out] float32; undefined: all one.
  at::Tensor factors(int64_t out, const ForwardContext& context, at::Device device) const;

 private:
  Rates rates_;
  uint64_t rank_stream_;
  uint64_t module_stream_;
};

}  // namespace tunefleet::tuners
