#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"
#include "storage/gguf.h"
#include "storage/gguf_config.h"
#include "storage/gguf_import.h"

namespace tunefleet::storage {

/// A tensor of the model: where it comes from and what it becomes.
struct WeightPlan {
  const GgufTensor* source = nullptr;
  std::string name;          ///< Hugging Face's.
  int64_t rotary_heads = 0;  ///< > 0: rows are interleaved per head and go back into halves.
};

/// Matches the file's tensors to the architecture's. kDataLoss when one is missing or of another
/// shape than the sizes say; kInvalidArgument for a tensor that the architecture does not have or
/// of a type that is not read, so that nothing is dropped in silence.
Result<std::vector<WeightPlan>> plan_weights(const GgufFile& file, const GgufModelConfig& model);

/// The row of the file that becomes row `row` of the tensor; both are [heads * head_dim, in].
/// Undoes llama.cpp's permute: (heads, head_dim / 2, 2, in) -> (heads, 2, head_dim / 2, in).
int64_t source_row(int64_t row, int64_t rows, int64_t rotary_heads);

/// Dequantises the planned tensors row by row into a safetensors file of `dtype` (kF32 or kBF16).
Status write_weights(const std::filesystem::path& path, const std::vector<WeightPlan>& plan,
                     Dtype dtype, const ImportCallback& progress);

}  // namespace tunefleet::storage
