#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "coordinator/outbound/outbound_guard.h"
#include "coordinator/webhooks/webhook_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Makes one signed call. Any thread.
class WebhookSender {
 public:
  /// `cancelled` is asked while a call is under way: true ends it.
  WebhookSender(OutboundGuard guard, std::function<int64_t()> now_s,
                std::function<bool()> cancelled);

  /// Posts `body` with webhook-id, webhook-timestamp (now) and webhook-signature; the status of the
  /// reply, or why there was none. kCancelled when it was cut short.
  Result<int> send(const WebhookEndpoint& endpoint, const std::string& delivery,
                   const std::string& body) const;

  /// Whether the URL may be an endpoint's: kInvalidArgument with the reason.
  Status check_url(const std::string& url) const;

 private:
  OutboundGuard guard_;
  std::function<int64_t()> now_s_;
  std::function<bool()> cancelled_;
};

}  // namespace tunefleet::coordinator
