#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/queue/job_record.h"
#include "coordinator/queue/job_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// The fields of a Redis hash, or of a stream entry, borrowed from Redis' answer. See redis.md for
/// their names.
using HashFields = std::map<std::string_view, std::string_view>;

/// Reads a job from the hash `tf:{<id>}:job`. kDataLoss names the field that cannot be read.
Result<JobRecord> job_from_hash(const HashFields& fields);

/// What a transition to `to` writes into the hash beside the phase.
std::vector<std::pair<std::string, std::string>> changed_fields(JobPhase to,
                                                                const TransitionChange& change);

/// Reads the hash `tf:leader`.
Result<Leadership> leadership_from_hash(const HashFields& fields);

/// Reads an event from the fields of its stream entry; `number` is the entry's id.
Result<JobEventRecord> event_from_hash(const std::string& job, int64_t number,
                                       const HashFields& fields);

/// Compact text of `value`, null as "". Bytes that are not UTF-8 become U+FFFD: text of a dying
/// process must never make its job unstorable.
std::string json_text(const nlohmann::json& value);

}  // namespace tunefleet::coordinator
