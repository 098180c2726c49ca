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

/// The fields of a Redis hash, borrowed from Redis' answer. See redis.md for their names.
using HashFields = std::map<std::string_view, std::string_view>;

/// Reads a job from the hash `tf:{<id>}:job`. kDataLoss names the field that cannot be read.
Result<JobRecord> job_from_hash(const HashFields& fields);

/// The field `given`: what stays of a job as it was created.
std::string given_text(const JobRecord& job);

/// What a transition writes into the hash beside the field `state`.
std::vector<std::pair<std::string, std::string>> changed_fields(const TransitionChange& change);

/// Reads the hash `tf:leader`.
Result<Leadership> leadership_from_hash(const HashFields& fields);

/// An event as the scripts take it; they put the time before it.
std::string event_text(std::string_view level, std::string_view type, std::string_view message,
                       const nlohmann::json& data = nullptr);

/// Reads an entry of the list `tf:{<id>}:events`; `number` is its place there, from 1.
Result<JobEventRecord> event_from_entry(const std::string& job, int64_t number,
                                        std::string_view entry);

/// Compact text of `value`, null as "". Bytes that are not UTF-8 become U+FFFD: text of a dying
/// process must never make its job unstorable.
std::string json_text(const nlohmann::json& value);

}  // namespace tunefleet::coordinator
