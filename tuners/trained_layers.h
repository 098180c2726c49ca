#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tuners/linear_adapter.h"

/// The small layers that tuners with networks of their own are made of. Their tensors are float32
/// leaves; names are those of torch.nn's modules.
namespace tunefleet::tuners {

/// Where a tuner's tensors belong: their device, and the name from which initial values are drawn.
struct TunerPlace {
  std::string path;  ///< "up.0.scetuner_default": in the model, with the adapter's name.
  uint64_t seed = 0;
  at::Device device = at::kCPU;

  TunerPlace inside(const std::string& name) const { return {path + "." + name, seed, device}; }
};

/// How a layer starts. Biases of kXavier are N(0, 1e-6^2), as ms-swift's adapters have them.
enum class LayerStart { kKaiming, kXavier, kZero };

/// y = x W^T + b over the last dimension.
struct TrainedLinear {
  at::Tensor weight;  ///< [out, in]
  at::Tensor bias;    ///< [out]; undefined: none

  static TrainedLinear make(int64_t in, int64_t out, LayerStart start, const TunerPlace& place,
                            bool has_bias = true);
  at::Tensor operator()(const at::Tensor& x) const;
  void append(const std::string& name, std::vector<LayerTensor>& tensors) const;
};

/// A square 2-D convolution, x [B, in, H, W].
struct TrainedConv {
  at::Tensor weight;  ///< [out, in, k, k]
  at::Tensor bias;    ///< [out]; undefined: none
  int64_t stride = 1;
  int64_t padding = 0;

  struct Shape {
    int64_t in, out, kernel;
    int64_t stride = 1, padding = 0;
    bool bias = true;
  };
  static TrainedConv make(const Shape& shape, LayerStart start, const TunerPlace& place);
  at::Tensor operator()(const at::Tensor& x) const;
  void append(const std::string& name, std::vector<LayerTensor>& tensors) const;
};

/// Normalisation over groups of channels with a trained scale and shift.
struct TrainedGroupNorm {
  at::Tensor weight;  ///< [C], ones at the start
  at::Tensor bias;    ///< [C], zeros
  int64_t groups = 1;

  static TrainedGroupNorm make(int64_t groups, int64_t channels, const TunerPlace& place);
  at::Tensor operator()(const at::Tensor& x) const;
  void append(const std::string& name, std::vector<LayerTensor>& tensors) const;
};

/// A float32 leaf that requires grad, from initial values.
at::Tensor trained(const at::Tensor& values, const TunerPlace& place);

/// [B, C, H, W] -> [B, H * W, C]; anything else as it is.
at::Tensor channels_last(const at::Tensor& x);
/// The way back, to the picture of `like`; y [B, H * W, C'].
at::Tensor channels_first(const at::Tensor& y, const at::Tensor& like);

}  // namespace tunefleet::tuners
