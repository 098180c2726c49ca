#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <istream>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "proto/serve_lines.h"

namespace tunefleet::serve {

/// The orders on a stream. A thread reads them, so that a cancel reaches the answer that is under
/// way. next() and is_cancelled() are for one other thread.
class OrderInbox {
 public:
  /// Reads `in`, which nobody else uses, until it ends. `on_malformed` is told the reason, on the
  /// reading thread, for each line that is no order.
  OrderInbox(std::istream& in, std::function<void(const std::string& reason)> on_malformed);
  /// Waits for the end of the stream.
  ~OrderInbox();

  /// The next conversation, cancelled ones too; waits for it. Nothing when the stream has ended and
  /// all of it is handed out.
  std::optional<ChatOrder> next();
  bool is_cancelled(int64_t id) const;

 private:
  void read(std::istream& in);
  void take(ServeOrder order);

  const std::function<void(const std::string&)> on_malformed_;
  mutable std::mutex mutex_;  ///< Guards what follows.
  std::condition_variable changed_;
  std::deque<ChatOrder> waiting_;
  std::set<int64_t> cancelled_;
  bool ended_ = false;
  std::thread reader_;  // Last: it uses the others.
};

}  // namespace tunefleet::serve
