#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "coordinator/queue/job_record.h"

namespace tunefleet::coordinator {

/// The events a webhook can be told, in OpenAI's words.
inline constexpr std::string_view kWebhookEventTypes[] = {
    "fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"};

bool is_webhook_event_type(std::string_view type);

/// Something that happened to a job, once.
struct WebhookEvent {
  std::string id{};    ///< "evt_…", derived from type and job: the same whenever it is looked at.
  std::string type{};  ///< One of kWebhookEventTypes.
  std::string job{};
  int64_t created_at = 0;  ///< When the job ended, Unix seconds.
};

/// Whether users' endpoints are told of that end. A trial that its sweep stopped is none of theirs:
/// nobody asked for it, and the sweep goes on.
bool is_told(const JobRecord& ended);
/// The event of a job that has ended.
WebhookEvent event_of(const JobRecord& ended);
/// An event of that type about no real job, with an id of its own for each `number`.
WebhookEvent sample_event(const std::string& type, int64_t now_s, std::string_view number);

/// What is posted: {"id","object":"event","type","created_at","data":{"id"}}.
std::string body_of(const WebhookEvent& event);
/// "wh_…": one for each (event, endpoint), the same in every attempt, so that a receiver can tell a
/// repeat.
std::string delivery_id(const WebhookEvent& event, std::string_view endpoint);

}  // namespace tunefleet::coordinator
