#include "worker/serve/order_inbox.h"

#include <utility>

namespace tunefleet::serve {

OrderInbox::OrderInbox(std::istream& in, std::function<void(const std::string&)> on_malformed)
    : on_malformed_(std::move(on_malformed)), reader_([this, &in] { read(in); }) {}

OrderInbox::~OrderInbox() { reader_.join(); }

std::optional<ChatOrder> OrderInbox::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
  if (waiting_.empty()) return std::nullopt;
  ChatOrder order = std::move(waiting_.front());
  waiting_.pop_front();
  // Ids ascend: no answer to a smaller one will be asked about again.
  cancelled_.erase(cancelled_.begin(), cancelled_.lower_bound(order.id));
  return order;
}

bool OrderInbox::is_cancelled(int64_t id) const {
  const std::lock_guard lock(mutex_);
  return cancelled_.contains(id);
}

void OrderInbox::read(std::istream& in) {
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    auto order = parse_serve_order(line);
    if (order) {
      take(std::move(*order));
    } else {
      on_malformed_(order.error().message);
    }
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void OrderInbox::take(ServeOrder order) {
  const std::lock_guard lock(mutex_);
  if (const auto* cancel = std::get_if<ChatCancel>(&order)) {
    cancelled_.insert(cancel->id);
    return;
  }
  waiting_.push_back(std::get<ChatOrder>(std::move(order)));
  changed_.notify_all();
}

}  // namespace tunefleet::serve
