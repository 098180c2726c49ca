#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"
#include "worker/models/generation.h"

namespace tunefleet::trainer {

struct GenerateRequest {
  std::filesystem::path model;
  std::string adapter;  ///< A checkpoint or adapter directory; empty: the base alone.
  std::vector<std::string> prompts;
  std::filesystem::path prompts_file;  ///< JSONL with "prompt" in each line.
  std::string system;
  std::string template_name;  ///< Empty: as the model says.
  bool raw = false;           ///< The prompt as it is, without a chat template.
  bool json = false;          ///< A line {"prompt", "text", "token_ids"} for each prompt.
  std::string dtype;
  std::string device = "auto";
  models::GenerationOptions options;
};

/// Answers prompts on stdout, text as it comes.
Status generate_text(const GenerateRequest& request);

}  // namespace tunefleet::trainer
