#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "worker/models/decoder.h"

namespace tunefleet::models {

struct GenerationOptions {
  int64_t max_new_tokens = 128;
  double temperature = 0.0;  ///< 0: greedy, the largest logit.
  double top_p = 1.0;        ///< Smallest set of tokens whose probability reaches this.
  int64_t top_k = 0;         ///< 0: all.
  uint64_t seed = 42;        ///< Of the draws: same seed, same text.
  bool stop_at_eos = true;
};

/// Continues `prompt` token by token with a cache of keys and values. Returns the new tokens, the
/// end token included. Calls `on_token` (when set) after each; it returns false to stop. Throws
/// c10::Error for an empty prompt.
std::vector<int32_t> generate(const Decoder& model, const std::vector<int32_t>& prompt,
                              const GenerationOptions& options,
                              const std::function<bool(int32_t)>& on_token = {});

}  // namespace tunefleet::models
