#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "coordinator/webhooks/delivery_schedule.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// The deliveries that are not done, one file each: <directory>/outbox/<delivery-id>.json with
/// {id,owner,endpoint,event:{id,type,job,created_at},attempts,next_attempt_ms,last_error}, 0600.
/// What was given up lies in <directory>/abandoned. One thread at a time.
class WebhookOutbox {
 public:
  /// The directory must be there; makes the two in it.
  static Result<WebhookOutbox> open(const std::filesystem::path& directory);

  /// Everything that is waiting, by id. A file that cannot be read is told in the log and left.
  std::map<std::string, WebhookDelivery> load() const;
  /// Durable when it returns; replaces an earlier state of the same delivery.
  Status put(const WebhookDelivery& delivery) const;
  Status remove(const std::string& id) const;
  /// Moves it out of the way, with its last error.
  Status abandon(const WebhookDelivery& delivery) const;

 private:
  explicit WebhookOutbox(const std::filesystem::path& directory)
      : waiting_(directory / "outbox"), abandoned_(directory / "abandoned") {}

  std::filesystem::path waiting_;
  std::filesystem::path abandoned_;
};

}  // namespace tunefleet::coordinator
