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

std::vector<std::string> WaitingJobs::changed(const std::vector<std::string>& ids,
                                              const std::vector<std::string>& versions) const {
  std::vector<std::string> changed;
  for (size_t i = 0; i < ids.size() && i < versions.size(); ++i) {
    const auto known = read_.find(ids[i]);
    if (known == read_.end() || known->second.version != versions[i]) changed.push_back(ids[i]);
  }
  return changed;
}

void WaitingJobs::take(const std::string& version, JobRecord job) {
  Read& read = read_[job.id];
  read.version = version;
  read.job = for_plan(std::move(job));
}

std::vector<JobRecord> WaitingJobs::settle(const std::vector<std::string>& ids) {
  std::unordered_map<std::string, Read> kept;
  std::vector<JobRecord> jobs;
  jobs.reserve(ids.size());
  for (const auto& id : ids) {
    const auto known = read_.find(id);
    if (known == read_.end() || known->second.job.phase != JobPhase::kQueued) continue;
    jobs.push_back(known->second.job);
    kept.insert(read_.extract(known));
  }
  read_ = std::move(kept);
  return jobs;
}

}  // namespace tunefleet::coordinator
