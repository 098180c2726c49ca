#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>

#include "proto/result.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// Largest file of weights, as transformers has it.
inline constexpr uint64_t kShardBytes = 5'000'000'000;

/// Writes a model as a Hugging Face directory, into `directory`, which is made:
///   config.json              the source's, with the dtype of the values
///   model.safetensors        or model-0000i-of-0000n.safetensors and model.safetensors.index.json
///   generation_config.json, the tokenizer's and the template's files: copies of the source's
/// `value_of` gives what each parameter of `base` shall be; it is asked once for each, one at a
/// time. A parameter that shares its tensor with an earlier one is left out as long as both have
/// the same value, as transformers does; otherwise it is written and tie_word_embeddings becomes
/// false. `source`: the directory the base was loaded from. `shard_bytes`: files are not larger,
/// unless one tensor is.
Status save_model(BaseModel& base, const std::function<at::Tensor(const ParameterSlot&)>& value_of,
                  const std::filesystem::path& source, const std::filesystem::path& directory,
                  uint64_t shard_bytes = kShardBytes);

}  // namespace tunefleet::tuners
