#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/api/api_error.h"
#include "proto/serve_lines.h"

namespace tunefleet::coordinator {

/// Writes one answer in OpenAI's shapes: chat.completion, or chat.completion.chunk by chunk. Pure.
class ChatReply {
 public:
  /// `created`: Unix seconds. `include_usage`: every chunk has `usage`, null until the last one.
  ChatReply(std::string id, std::string model, int64_t created, bool include_usage = false)
      : id_(std::move(id)),
        model_(std::move(model)),
        created_(created),
        include_usage_(include_usage) {}

  /// The whole answer.
  nlohmann::json completion(const std::string& text, const ChatEnd& end) const;

  /// In this order: one first_chunk, a text_chunk for each piece, an end_chunk, and a usage_chunk
  /// when usage is wanted.
  nlohmann::json first_chunk() const;
  nlohmann::json text_chunk(const std::string& text) const;
  nlohmann::json end_chunk(const ChatEnd& end) const;
  nlohmann::json usage_chunk(const ChatEnd& end) const;

 private:
  nlohmann::json head(const char* object) const;
  nlohmann::json chunk(nlohmann::json delta, nlohmann::json finish_reason) const;

  std::string id_;
  std::string model_;
  int64_t created_;
  bool include_usage_;
};

/// What a client gets for an answer that failed: 400 with context_length_exceeded for a
/// conversation that is too long, 503 with Retry-After while the model cannot be asked.
ApiError chat_error(const ChatFailed& failed);

}  // namespace tunefleet::coordinator
