#include "coordinator/webhooks/delivery_schedule.h"

#include <iterator>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kSecond = 1'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kPausesMs[] = {5 * kSecond, 30 * kSecond, 2 * kMinute, 10 * kMinute, kHour,
                                 3 * kHour,   6 * kHour,    12 * kHour,  24 * kHour};

}  // namespace

std::optional<int64_t> next_attempt_ms(int64_t attempts, int64_t now_ms) {
  if (attempts < 1) return now_ms;
  if (attempts > std::ssize(kPausesMs)) return std::nullopt;
  return now_ms + kPausesMs[attempts - 1];
}

std::string next_delivery(const std::map<std::string, WebhookDelivery>& waiting,
                          const std::set<std::string>& busy_owners, int64_t now_ms) {
  const WebhookDelivery* next = nullptr;
  for (const auto& [id, delivery] : waiting) {
    if (delivery.next_attempt_ms > now_ms || busy_owners.contains(delivery.owner)) continue;
    if (next == nullptr || delivery.next_attempt_ms < next->next_attempt_ms) next = &delivery;
  }
  return next == nullptr ? std::string() : next->id;
}

}  // namespace tunefleet::coordinator
