#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/api/model_access.h"
#include "coordinator/queue/job_record.h"
#include "coordinator/queue/job_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// A name of something a job has made: `ft:<base>:<owner>:<name>:<id>`, with `:ckpt-step-<n>` for
/// one checkpoint. Only the id is looked up; the rest is for people and must fit.
std::string tuned_model_name(const JobRecord& job);
std::string checkpoint_name(const JobRecord& job, int64_t step);

/// An adapter on disk, and the base model it was made for.
struct TunedModel {
  JobRecord job{};
  std::optional<int64_t> step{};  ///< Of a checkpoint; nothing for the finished model.
  std::string base{};             ///< Name of the base model.
  std::filesystem::path checkpoint{};
};

/// Finds what `name` stands for among what `owner` may use, which is what the owner's jobs made and
/// what `access` permits: a tuned model's or checkpoint's name, or the id of a job that succeeded.
/// kNotFound for everything else, deleted models too.
Result<TunedModel> find_tuned_model(JobStore& jobs, const ModelAccess& access,
                                    const std::filesystem::path& jobs_directory,
                                    const std::string& owner, std::string_view name);

}  // namespace tunefleet::coordinator
