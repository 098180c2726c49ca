#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "proto/result.h"
#include "storage/dtype.h"

namespace tunefleet::storage {

struct ImportOptions {
  /// Of the written weights: kF32 keeps every dequantised value exactly, kBF16 halves the file.
  Dtype dtype = Dtype::kF32;
};

/// Called before each tensor is written and once at the end (done == total).
struct ImportProgress {
  size_t done = 0;
  size_t total = 0;
  std::string tensor;  ///< Hugging Face's name; empty at the end.
};
using ImportCallback = std::function<void(const ImportProgress&)>;

struct ImportReport {
  std::filesystem::path directory;
  std::string architecture;  ///< "LlamaForCausalLM", …
  size_t tensors = 0;
  int64_t parameters = 0;     ///< Elements of all written tensors.
  uint64_t weight_bytes = 0;  ///< Of model.safetensors' data.
  bool tied_embeddings = false;
  int64_t vocab_size = 0;
};

/// Makes a Hugging Face directory of a GGUF file: config.json, generation_config.json,
/// model.safetensors, tokenizer.json, tokenizer_config.json, special_tokens_map.json.
/// Architectures: llama (Mistral by name), qwen2, qwen3; tokenizers: byte-level BPE with a known
/// pre-tokenizer. The rows of llama's q and k, which GGUF stores interleaved for its own RoPE, go
/// back into Hugging Face's order. Memory use does not grow with the model.
///
/// `out_dir` appears complete or not at all; it must not be there (or be empty): kConflict.
/// kInvalidArgument for an architecture, tensor type or tokenizer that is not read here; kDataLoss
/// for a damaged file or a missing tensor; kResourceExhausted when the disk is full.
Result<ImportReport> import_gguf(const std::filesystem::path& gguf_path,
                                 const std::filesystem::path& out_dir,
                                 const ImportOptions& options = {},
                                 const ImportCallback& progress = nullptr);

}  // namespace tunefleet::storage
