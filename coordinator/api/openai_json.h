#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/api/file_store.h"
#include "coordinator/fleet/fleet_service.h"
#include "coordinator/queue/job_record.h"

namespace tunefleet::coordinator {

/// Our values in the shapes OpenAI's clients parse, strictly: what they require is always there,
/// our own fields stand beside. Times become whole seconds. Described in coordinator/api/api.md.
nlohmann::json to_openai_job(JobRecord job, const QueuePosition& queue, int64_t now_ms);
/// The job's spec with the names its author used, not with our paths.
nlohmann::json shown_spec(JobRecord job);
nlohmann::json to_openai_event(const JobEventRecord& event);
/// `event` is one of type checkpoint, its data {path, step, metrics}.
nlohmann::json to_openai_checkpoint(const JobRecord& job, const JobEventRecord& event);
nlohmann::json to_openai_file(const StoredFile& file);
nlohmann::json to_openai_model(const std::string& id, int64_t created_at, const std::string& owner);
/// {object:"list",data,has_more}, with first_id and last_id of items that have an id.
nlohmann::json to_openai_page(std::vector<nlohmann::json> items, bool has_more);

}  // namespace tunefleet::coordinator
