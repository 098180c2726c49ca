#include "coordinator/queue/waiting_jobs.h"

#include <initializer_list>
#include <utility>

namespace tunefleet::coordinator {
namespace {

nlohmann::json only(const nlohmann::json& object, std::initializer_list<const char*> keys) {
  nlohmann::json kept = nlohmann::json::object();
  for (const char* key : keys) {
    if (object.is_object() && object.contains(key)) kept[key] = object[key];
  }
  return kept;
}

}  // namespace

JobRecord for_plan(JobRecord job) {
  job.spec = only(job.spec, {"max_minutes", "adapters", "resume_from_checkpoint"});
  job.request = only(job.request, {"dataset", "val_dataset"});
  return job;
}

std::vector<std::string> WaitingJobs::unknown(const std::vector<std::string>& ids) const {
  std::vector<std::string> unknown;
  for (const auto& id : ids) {
    if (!read_.contains(id)) unknown.push_back(id);
  }
  return unknown;
}

void WaitingJobs::take(JobRecord job) {
  Read& read = read_[job.id];
  read.job = for_plan(std::move(job));
}

std::vector<JobRecord> WaitingJobs::settle(const std::vector<std::string>& ids) {
  ++settled_;
  std::vector<JobRecord> jobs;
  jobs.reserve(ids.size());
  for (const auto& id : ids) {
    const auto known = read_.find(id);
    if (known == read_.end() || known->second.job.phase != JobPhase::kQueued) continue;
    known->second.settled = settled_;
    jobs.push_back(known->second.job);
  }
  std::erase_if(read_, [this](const auto& entry) { return entry.second.settled != settled_; });
  return jobs;
}

}  // namespace tunefleet::coordinator
