#pragma once

#include <filesystem>
#include <string>

#include "proto/result.h"

namespace tunefleet::trainer {

struct LogitsRequest {
  std::filesystem::path model;
  std::string adapter;           ///< A checkpoint or adapter directory; empty: the base alone.
  std::filesystem::path tokens;  ///< JSON: a list of rows of token ids.
  std::filesystem::path output;  ///< safetensors: "logits.<row>" float32 [T, vocab].
  std::string dtype;             ///< Empty: the model's own.
  std::string device = "auto";
};

/// Writes the logits of token rows, for comparing with other programs.
Status write_logits(const LogitsRequest& request);

}  // namespace tunefleet::trainer
