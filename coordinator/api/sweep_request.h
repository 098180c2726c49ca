#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/api/api_error.h"
#include "coordinator/api/job_request.h"
#include "coordinator/queue/sweep_record.h"

namespace tunefleet::coordinator {

/// Reads the body of POST /v1/fine_tuning/sweeps: a job's body and the section `sweep`
/// (coordinator/sweep/README.md). Every trial is read as a job of its own, so that what is refused
/// is refused now: one 400 that names the key, and the trial's values where they matter.
/// The record has no id yet.
ApiResult<SweepRecord> read_sweep_request(const nlohmann::json& body, const std::string& owner,
                                          const JobResources& resources);

}  // namespace tunefleet::coordinator
