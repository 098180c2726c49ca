#include "coordinator/webhooks/webhook_event.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kMsPerSecond = 1000;
constexpr size_t kIdDigits = 32;  // 128 bits.
constexpr const char* kSampleJob = "ftjob-000000000000000000000000";

std::string derived_id(std::string_view prefix, std::string_view first, std::string_view second) {
  const auto digest = storage::sha256_hex(fmt::format("{}\n{}", first, second));
  return fmt::format("{}{}", prefix, digest.substr(0, kIdDigits));
}

}  // namespace

bool is_webhook_event_type(std::string_view type) {
  return std::find(std::begin(kWebhookEventTypes), std::end(kWebhookEventTypes), type) !=
         std::end(kWebhookEventTypes);
}

bool is_told(const JobRecord& ended) { return ended.stop != StopReason::kSweep; }

WebhookEvent event_of(const JobRecord& ended) {
  const std::string type = fmt::format("fine_tuning.job.{}", phase_name(ended.phase));
  return {.id = derived_id("evt_", type, ended.id),
          .type = type,
          .job = ended.id,
          .created_at = ended.finished_at_ms / kMsPerSecond};
}

WebhookEvent sample_event(const std::string& type, int64_t now_s, std::string_view number) {
  return {.id = derived_id("evt_", "sample", number),
          .type = type,
          .job = kSampleJob,
          .created_at = now_s};
}

std::string body_of(const WebhookEvent& event) {
  return nlohmann::json{{"id", event.id},
                        {"object", "event"},
                        {"type", event.type},
                        {"created_at", event.created_at},
                        {"data", {{"id", event.job}}}}
      .dump();
}

std::string delivery_id(const WebhookEvent& event, std::string_view endpoint) {
  return derived_id("wh_", event.id, endpoint);
}

}  // namespace tunefleet::coordinator
