#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "coordinator/webhooks/webhook_event.h"

namespace tunefleet::coordinator {

/// One event on its way to one endpoint, as the outbox keeps it. Times are Unix milliseconds.
struct WebhookDelivery {
  std::string id{};  ///< delivery_id(event, endpoint); also the file's name and webhook-id.
  std::string owner{};
  std::string endpoint{};
  WebhookEvent event{};
  int64_t attempts = 0;  ///< Made so far, all without success.
  int64_t next_attempt_ms = 0;
  std::string last_error{};
};

/// When to try again after `attempts` attempts without success, the last at `now_ms`: 5 s, 30 s,
/// 2 min, 10 min, 1 h, 3 h, 6 h, 12 h and 24 h later. nullopt when it is to be given up, after ten
/// attempts in two days.
std::optional<int64_t> next_attempt_ms(int64_t attempts, int64_t now_ms);

/// What to send now: the delivery whose turn is longest overdue and whose owner has none under way,
/// so that one owner's slow receivers hold up nobody else. Empty when there is none.
std::string next_delivery(const std::map<std::string, WebhookDelivery>& waiting,
                          const std::set<std::string>& busy_owners, int64_t now_ms);

}  // namespace tunefleet::coordinator
