// A test double of `tunefleet-trainer serve`: it loads nothing. The last message says what it does:
//   "die"    says a piece and kills itself      "wait"  says a piece and waits to be cancelled
//   "hang"   says nothing, whatever is asked    "refuse"  fails as for a conversation too long
//   "flood"  says 20,000 pieces                 else    says it back, in two pieces, with the
//   adapter
// A base called "crash" ends before it is loaded, "broken" says why it cannot be.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>

#include "proto/serve_lines.h"

namespace {

using namespace tunefleet;

constexpr int kFlood = 20'000;

void say(const ServeReply& reply) {
  std::fputs(to_line(reply).c_str(), stdout);
  std::fflush(stdout);
}

/// False when the asker has gone.
bool wait_for_cancel(int64_t id) {
  for (std::string line; std::getline(std::cin, line);) {
    const auto order = parse_serve_order(line);
    if (order && *order == ServeOrder(ChatCancel{id})) return true;
  }
  return false;
}

ChatEnd end_of(const ChatOrder& order, const char* reason) {
  return {.id = order.id,
          .finish_reason = reason,
          .prompt_tokens = static_cast<int64_t>(order.messages.size()),
          .completion_tokens = 2};
}

void answer(const ChatOrder& order) {
  const std::string& wish = order.messages.back().content;
  if (wish == "hang") {
    while (true) ::pause();
  }
  if (wish == "refuse") {
    return say(ChatFailed{order.id, ErrorCode::kResourceExhausted, "the conversation is too long"});
  }
  if (wish == "flood") {
    for (int i = 0; i < kFlood; ++i) say(ChatText{order.id, std::string(1000, 'x')});
    return say(end_of(order, "length"));
  }
  say(ChatText{order.id, order.adapter + "|"});
  if (wish == "die") ::raise(SIGKILL);
  if (wish == "wait") {
    if (wait_for_cancel(order.id)) say(end_of(order, "cancelled"));
    return;
  }
  say(ChatText{order.id, wish});
  say(end_of(order, "stop"));
}

}  // namespace

int main(int argc, char** argv) {
  const auto base = std::filesystem::path(argv[argc - 1]).filename().string();
  std::fprintf(stderr, "started %s %d\n", base.c_str(), static_cast<int>(::getpid()));
  if (base == "crash") return 7;
  if (base == "broken") {
    say(ChatFailed{0, ErrorCode::kInvalidArgument, "no chat template"});
    return 2;
  }
  say(ServerReady{512});
  for (std::string line; std::getline(std::cin, line);) {
    const auto order = parse_serve_order(line);
    if (!order) return 9;
    if (const auto* ask = std::get_if<ChatOrder>(&*order)) answer(*ask);
  }
  return 0;
}
