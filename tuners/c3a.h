#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/c3a_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/sparse_pattern.h"

namespace tunefleet::tuners {

/// An update of circulant blocks of width b beside a frozen linear layer:
///   y_m = next(x)_m + (1 / in) sum_n C(w_mn) x_n,   C(w)_ij = w_((j - i) mod b)
/// computed by Fourier transforms of the blocks of x, where it is a small matrix for each
/// frequency. Shapes: x [N, in]; c3a_kernel w [out / b, in / b, b]. Starts at random but for
/// init_weights "true". Source: Chen et al. 2024, arXiv:2407.19342; PEFT's tuners/c3a.
class C3aLinear : public LinearLayerTuner {
 public:
  struct Settings {
    int64_t block_size = 256;
    std::string init = "xavier_uniform";  ///< C3aOptions::init_weights.
  };

  /// `frequencies`: see frequency_pattern.
  C3aLinear(const LinearSite& site, const std::string& adapter_name, const Settings& settings,
            std::shared_ptr<const SparsePattern> frequencies, uint64_t seed);

  /// Which parts of a spectrum of x blocks [in / b, b / 2 + 1, 2] give which of y's [out / b, b / 2
  /// + 1, 2] (real and imaginary parts): entries [out / b, in / b, b / 2 + 1, 4], the last counting
  /// (re, re), (re, im), (im, re), (im, im). Layers of one shape share it.
  static std::shared_ptr<const SparsePattern> frequency_pattern(int64_t out, int64_t in, int64_t b,
                                                                const at::Device& device);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  std::shared_ptr<const SparsePattern> frequencies_;
  at::Tensor kernel_;  ///< c3a_kernel, a float32 leaf.
};

/// C3A on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_c3a(const TunerOptions& options,
                                          const AdapterRequest& request);

}  // namespace tunefleet::tuners
