#include "coordinator/webhooks/webhook_sender.h"

#include <utility>

#include "coordinator/outbound/outbound_post.h"
#include "coordinator/webhooks/webhook_signature.h"

namespace tunefleet::coordinator {

WebhookSender::WebhookSender(OutboundGuard guard, std::function<int64_t()> now_s,
                             std::function<bool()> cancelled)
    : guard_(std::move(guard)), now_s_(std::move(now_s)), cancelled_(std::move(cancelled)) {}

Status WebhookSender::check_url(const std::string& url) const {
  const auto checked = guard_.check(url);
  if (!checked) return fail(checked.error());
  return {};
}

Result<int> WebhookSender::send(const WebhookEndpoint& endpoint, const std::string& delivery,
                                const std::string& body) const {
  const auto target = guard_.admit(endpoint.url);
  if (!target) return fail(target.error());
  const int64_t now = now_s_();
  const auto signature = webhook_signature(endpoint.secrets_at(now), delivery, now, body);
  if (!signature) return fail(signature.error());
  return post_outbound(*target, {.headers = {{"Content-Type", "application/json"},
                                             {"webhook-id", delivery},
                                             {"webhook-timestamp", std::to_string(now)},
                                             {"webhook-signature", *signature}},
                                 .body = body,
                                 .cancelled = cancelled_});
}

}  // namespace tunefleet::coordinator
