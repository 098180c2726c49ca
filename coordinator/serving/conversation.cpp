#include "coordinator/serving/conversation.h"

#include <utility>

namespace tunefleet::coordinator {

void ReplyBox::put(ServeReply reply) {
  const std::lock_guard lock(mutex_);
  replies_.push_back(std::move(reply));
  changed_.notify_all();
}

std::optional<ServeReply> ReplyBox::next(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, limit, [this] { return !replies_.empty(); })) return std::nullopt;
  ServeReply reply = std::move(replies_.front());
  replies_.pop_front();
  return reply;
}

}  // namespace tunefleet::coordinator
