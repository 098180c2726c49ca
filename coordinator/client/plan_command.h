#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/client/api_client.h"
#include "proto/job_spec.h"

namespace tunefleet::coordinator {

/// `tunefleet plan job.yaml`: what the job would take, without submitting it. The data sets go up
/// for it and are removed again.
int run_plan(int argc, char** argv);

/// Asks the service for the plan of a job whose file lies in `directory`.
Result<nlohmann::json> plan_of(ApiClient& client, const JobSpec& spec,
                               const std::filesystem::path& directory);
/// The same as text for people, one line for each thing known or not.
std::string plan_text(const nlohmann::json& plan);

}  // namespace tunefleet::coordinator
