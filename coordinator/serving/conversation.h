#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "proto/serve_lines.h"

namespace tunefleet::coordinator {

/// Replies between the model's server that gives them and who asked. It holds what was not fetched
/// yet, so that a slow reader holds nobody up; an answer's length bounds it. Any thread.
class ReplyBox {
 public:
  void put(ServeReply reply);
  /// The next reply; waits for it, at most `limit`.
  std::optional<ServeReply> next(std::chrono::milliseconds limit);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ServeReply> replies_;
};

/// Who asked holds this: letting go of it before the answer has ended cancels the answer.
class Conversation {
 public:
  Conversation(std::shared_ptr<ReplyBox> replies, std::function<void()> on_leave)
      : replies_(std::move(replies)), on_leave_(std::move(on_leave)) {}
  ~Conversation() { on_leave_(); }
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  /// Pieces of the answer, then one ChatEnd or ChatFailed. Nothing when none comes within `limit`.
  std::optional<ServeReply> next(std::chrono::milliseconds limit) { return replies_->next(limit); }

 private:
  std::shared_ptr<ReplyBox> replies_;
  std::function<void()> on_leave_;
};

}  // namespace tunefleet::coordinator
