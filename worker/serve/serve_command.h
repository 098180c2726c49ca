#pragma once

#include "worker/serve/chat_model.h"

namespace tunefleet::serve {

/// Answers the orders on stdin on stdout (proto/serve_lines.md) until stdin ends. When the base
/// cannot be loaded, says so there and ends the process with exit code 2: the thread that reads
/// stdin cannot be ended otherwise.
void serve_chats(const ChatModelOptions& options);

}  // namespace tunefleet::serve
