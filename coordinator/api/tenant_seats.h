#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace tunefleet::coordinator {

/// How many requests of one tenant are being answered at the same time. Streams and slow bodies
/// hold a connection for as long as their client likes, and there are so many connections only: one
/// tenant leaves some to the others. Any thread.
class TenantSeats {
 public:
  /// 0: no limit.
  explicit TenantSeats(size_t limit) : limit_(limit) {}
  size_t limit() const { return limit_; }

  /// A seat, which is given back when the last copy of the pointer goes; null when the tenant has
  /// taken all of its own. It may outlive this object.
  std::shared_ptr<void> take(const std::string& tenant);

 private:
  struct Taken {
    std::mutex mutex;
    std::map<std::string, size_t> seats;
  };

  const size_t limit_;
  std::shared_ptr<Taken> taken_ = std::make_shared<Taken>();
};

}  // namespace tunefleet::coordinator
