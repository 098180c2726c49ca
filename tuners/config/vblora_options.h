#pragma once

#include <cstdint>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's VBLoRAConfig; field names and defaults are the file's.
struct VbloraOptions {
  int64_t r = 4;
  int64_t num_vectors = 256;            ///< In the bank that all layers share.
  int64_t vector_length = 256;          ///< Divides every width.
  int64_t topk = 2;                     ///< Vectors mixed for one piece of A or B.
  bool save_only_topk_weights = false;  ///< Smaller files, which cannot be trained on.
  double vblora_dropout = 0.0;          ///< Of the update's input, in training.
  double init_vector_bank_bound = 0.02;
  double init_logits_std = 0.1;
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const VbloraOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners
