#include "worker/models/rope_table.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pow.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tunefleet::models {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

/// Llama 3.1: long wavelengths are slowed by `factor`, short ones kept, those between blended.
float llama3_frequency(float frequency, const RopeScaling& rope, double trained_length) {
  const double wavelength = kTwoPi / frequency;
  if (wavelength < trained_length / rope.high_freq_factor) return frequency;
  if (wavelength > trained_length / rope.low_freq_factor)
    return static_cast<float>(frequency / rope.factor);
  const double smooth = (trained_length / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return static_cast<float>((1.0 - smooth) * frequency / rope.factor + smooth * frequency);
}

/// The dimension that turns `rotations` times over the trained length (YaRN, eq. 17 solved for the
/// dimension).
double yarn_dimension(double rotations, double dims, double base, double trained_length) {
  return dims * std::log(trained_length / (rotations * kTwoPi)) / (2.0 * std::log(base));
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double yarn_attention_factor(const RopeScaling& rope) {
  if (rope.attention_factor > 0.0) return rope.attention_factor;
  if (rope.mscale > 0.0 && rope.mscale_all_dim > 0.0) {
    return yarn_mscale(rope.factor, rope.mscale) / yarn_mscale(rope.factor, rope.mscale_all_dim);
  }
  return yarn_mscale(rope.factor, 1.0);
}

void scale_yarn(std::vector<float>& frequencies, const ModelConfig& config, double trained_length) {
  const auto& rope = config.rope_scaling;
  const auto dims = static_cast<double>(config.head_dim);
  double low = yarn_dimension(rope.beta_fast, dims, config.rope_theta, trained_length);
  double high = yarn_dimension(rope.beta_slow, dims, config.rope_theta, trained_length);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double kept = 1.0 - ramp;
    frequencies[i] =
        static_cast<float>(frequencies[i] / rope.factor * (1.0 - kept) + frequencies[i] * kept);
  }
}

}  // namespace

RopeTable::RopeTable(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  const auto& rope = config.rope_scaling;
  const auto trained_length = static_cast<double>(rope.original_max_position_embeddings > 0
                                                      ? rope.original_max_position_embeddings
                                                      : config.max_position_embeddings);
  frequencies_.resize(static_cast<size_t>(half));
  // In float32 by torch, step by step as transformers has it: an angle far out feels the last bit.
  const auto exponents =
      at::arange(0, config.head_dim, 2, at::kFloat) / static_cast<double>(config.head_dim);
  const auto plain = at::pow(config.rope_theta, exponents).reciprocal();
  std::copy_n(plain.const_data_ptr<float>(), half, frequencies_.begin());
  if (rope.type == "linear") {
    for (auto& frequency : frequencies_) frequency /= static_cast<float>(rope.factor);
  } else if (rope.type == "llama3") {
    for (auto& frequency : frequencies_)
      frequency = llama3_frequency(frequency, rope, trained_length);
  } else if (rope.type == "yarn") {
    scale_yarn(frequencies_, config, trained_length);
    attention_factor_ = yarn_attention_factor(rope);
  }
}

RopeTable::Angles RopeTable::at(const std::vector<int32_t>& positions, at::Device device) const {
  const auto rows = static_cast<int64_t>(positions.size());
  auto angles = at::empty({rows, static_cast<int64_t>(frequencies_.size())}, at::kFloat);
  auto* angle = angles.mutable_data_ptr<float>();
  for (const int32_t position : positions) {
    for (const float frequency : frequencies_) *angle++ = static_cast<float>(position) * frequency;
  }
  const auto table = [&](const at::Tensor& values) {
    return (values * attention_factor_).to(device);
  };
  return {table(angles.cos()), table(angles.sin())};
}

}  // namespace tunefleet::models
