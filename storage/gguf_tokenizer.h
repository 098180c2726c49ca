#pragma once

#include <map>
#include <string>

#include "proto/result.h"
#include "storage/gguf.h"

namespace tunefleet::storage {

/// The tokenizer's files by name: tokenizer.json, tokenizer_config.json, special_tokens_map.json,
/// as Hugging Face's PreTrainedTokenizerFast reads them.
using TokenizerFiles = std::map<std::string, std::string>;

/// Builds them of a GGUF file's `tokenizer.*` metadata: vocabulary and merges of a byte-level BPE,
/// the pre-tokenizer that `tokenizer.ggml.pre` names, special tokens and the chat template.
/// kInvalidArgument for another tokenizer model or an unknown pre-tokenizer (the known are listed);
/// kDataLoss for a vocabulary that contradicts itself.
Result<TokenizerFiles> make_tokenizer_files(const GgufFile& file);

}  // namespace tunefleet::storage
