#include "worker/serve/serve_command.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

#include "proto/log.h"
#include "worker/serve/order_inbox.h"
#include "worker/trainer/device.h"

namespace tunefleet::serve {
namespace {

void say(const ServeReply& reply) {
  const std::string line = to_line(reply);
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

ChatFailed failed(int64_t id, const Error& error) {
  return {.id = id, .code = error.code, .message = error.message};
}

/// One answer, or what came in its way; a failure inside tensor code ends this answer only.
ServeReply answer(ChatModel& model, const ChatOrder& order, const OrderInbox& inbox) {
  const auto is_cancelled = [&] { return inbox.is_cancelled(order.id); };
  if (is_cancelled()) return ChatEnd{.id = order.id, .finish_reason = "cancelled"};
  const auto on_text = [&](const std::string& text) { say(ChatText{order.id, text}); };
  try {
    const auto end = model.answer(order, is_cancelled, on_text);
    if (end) return *end;
    return failed(order.id, end.error());
  } catch (const c10::Error& error) {
    return failed(order.id, {ErrorCode::kInternal, error.what_without_backtrace()});
  } catch (const std::exception& error) {
    return failed(order.id, {ErrorCode::kInternal, error.what()});
  }
}

}  // namespace

void serve_chats(const ChatModelOptions& options) {
  trainer::set_threads(1);
  OrderInbox inbox(std::cin, [](const std::string& reason) {
    log::error("a line on stdin is no order (see proto/serve_lines.md): " + reason);
  });
  const auto model = ChatModel::load(options);
  if (!model) {
    say(failed(0, model.error()));
    log::error(model.error().message);
    std::_Exit(2);
  }
  say(ServerReady{(*model)->context_length()});
  while (const auto order = inbox.next()) say(answer(**model, *order, inbox));
}

}  // namespace tunefleet::serve
