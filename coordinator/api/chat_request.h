#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/api/api_error.h"
#include "proto/serve_lines.h"

namespace tunefleet::coordinator {

inline constexpr int64_t kDefaultAnswerTokens = 1024;

/// What the body of POST /v1/chat/completions asks for.
struct ChatFields {
  std::string model;
  ChatOrder order{};  ///< Less its id and its adapter.
  bool stream = false;
  bool include_usage = false;  ///< A last chunk with the tokens of a streamed answer.
};

/// Reads the body; the tables in api.md, "Asking a model", are what it takes. 400 with every
/// problem, as for jobs. Without a seed the order gets a random one.
ApiResult<ChatFields> read_chat_request(const nlohmann::json& body);

}  // namespace tunefleet::coordinator
