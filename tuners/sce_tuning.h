#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/sce_tuning_options.h"
#include "tuners/pass_adapter.h"

namespace tunefleet::tuners {

/// A residual bottleneck over channels, at one place of a U-Net:
///   tuned(z) = z + ln2(gelu(ln1(z)));   the identity at the start: ln2 is zero
///   encoder: y = tuned(module(x))
///   decoder: y = module([h; tuned(s)]), x = [h; s] with the skip connection s in the last `dim`
///            channels (behind the first dimension)
/// z is [B, C, H, W], or has its channels last. Source: Jiang et al. 2023, arXiv:2312.11392, eq. 4
/// (SC-Tuner).
class SceLayer : public PassTuner {
 public:
  struct Settings {
    int64_t dim = 0;
    int64_t length = 0;  ///< Width of the bottleneck.
    bool decoder = true;
  };
  SceLayer(const Settings& settings, const TunerPlace& place);

  /// Throws std::invalid_argument when the decoder's x has fewer channels than two times dim, or
  /// what is tuned has others than dim.
  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext& context) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  at::Tensor tuned(const at::Tensor& z) const;

  Settings settings_;
  TrainedLinear ln1_;
  TrainedLinear ln2_;
};

/// ms-swift's SCETuning on the skip connections of a network.
class SceTuningAdapter : public PassAdapter {
 public:
  /// kInvalidArgument: no such place, one named twice, another number of dims than of targets.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

 private:
  using PassAdapter::PassAdapter;
};

}  // namespace tunefleet::tuners
