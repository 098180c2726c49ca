#pragma once

#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's NEFTuneConfig: noise on the embeddings in training (Jain et al. 2023,
/// arXiv:2310.05914). Field names and defaults are the file's.
struct NeftuneOptions {
  static const TunerSchema& schema();

  double noise_alpha = 5.0;  ///< Strength of the noise: alpha / sqrt(length * width).

  bool operator==(const NeftuneOptions&) const = default;
};

}  // namespace tunefleet::tuners
