#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/dataset_rows.h"
#include "proto/result.h"

/// What travels between the coordinator and `tunefleet-trainer serve`, one JSON object a line; see
/// serve_lines.md.
namespace tunefleet {

/// A conversation for a model to go on with.
struct ChatOrder {
  int64_t id = 0;       ///< Chosen by the asker, each larger than the one before; replies carry it.
  std::string adapter;  ///< A checkpoint or adapter directory; empty: the base alone.
  std::vector<Message> messages;
  int64_t max_tokens = 1;    ///< New tokens at most; the model's context may leave fewer.
  double temperature = 1.0;  ///< 0: always the likeliest token.
  double top_p = 1.0;
  int64_t top_k = 0;              ///< 0: all.
  uint64_t seed = 0;              ///< Of the draws: same seed, same text.
  std::vector<std::string> stop;  ///< Texts that end the answer and are not part of it.

  bool operator==(const ChatOrder&) const = default;
};

/// Nobody waits for that answer any more; its ChatEnd comes early.
struct ChatCancel {
  int64_t id = 0;
  bool operator==(const ChatCancel&) const = default;
};

using ServeOrder = std::variant<ChatOrder, ChatCancel>;

/// The base model is loaded.
struct ServerReady {
  int64_t context_length = 0;  ///< Tokens of prompt and answer together at most.
  bool operator==(const ServerReady&) const = default;
};

/// The answer's next piece, whole characters.
struct ChatText {
  int64_t id = 0;
  std::string text;
  bool operator==(const ChatText&) const = default;
};

/// The answer is complete.
struct ChatEnd {
  int64_t id = 0;
  std::string finish_reason;  ///< "stop", "length" or "cancelled".
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;  ///< The end token included.
  bool operator==(const ChatEnd&) const = default;
};

/// There is no answer, or no more of it. kResourceExhausted: the conversation is longer than the
/// model's context.
struct ChatFailed {
  int64_t id = 0;  ///< 0: the server as a whole; it ends then.
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  bool operator==(const ChatFailed&) const = default;
};

using ServeReply = std::variant<ServerReady, ChatText, ChatEnd, ChatFailed>;

/// The line, with its newline. Bytes that are not UTF-8 become U+FFFD.
std::string to_line(const ServeOrder& order);
std::string to_line(const ServeReply& reply);
/// kInvalidArgument for a line that is none of ours.
Result<ServeOrder> parse_serve_order(std::string_view line);
Result<ServeReply> parse_serve_reply(std::string_view line);

}  // namespace tunefleet
