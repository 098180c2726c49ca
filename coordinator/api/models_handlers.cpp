#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/api/tuned_model.h"
#include "coordinator/api/unfinished_jobs.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kPage = 100;
constexpr size_t kMaxModels = 10'000;
constexpr const char* kBaseOwner = "tunefleet";

json shown_base(const CatalogModel& model) {
  return to_openai_model(model.name, model.created_at, kBaseOwner);
}

/// Of a model that `viewer` was let use it is not told which job made it, and where it lies.
json shown_tuned(const TunedModel& tuned, const std::string& viewer) {
  const JobRecord& job = tuned.job;
  const std::string name = tuned.step ? checkpoint_name(job, *tuned.step) : tuned_model_name(job);
  json shown = to_openai_model(name, job.finished_at_ms / 1000, job.owner);
  const bool own = job.owner == viewer;
  shown["job"] = own ? json(job.id) : json();
  shown["checkpoint"] = own ? json(tuned.checkpoint.string()) : json();
  return shown;
}

std::string checkpoint_of(const JobRecord& job) {
  const json path = job.result.is_object() ? job.result.value("checkpoint", json()) : json();
  return path.is_string() ? path.get<std::string>() : std::string();
}

/// The adapters of the caller's finished jobs, less the deleted ones.
ApiResult<void> add_own_models(const ApiContext& context, const std::string& owner,
                               std::vector<json>& items) {
  std::string after;
  while (items.size() < kMaxModels) {
    const auto page = context.jobs.list(owner, after, kPage);
    if (!page) return api_fail(to_api_error(page.error()));
    for (const JobRecord& job : page->jobs) {
      if (job.phase != JobPhase::kSucceeded || context.model_access.is_deleted(job.id)) continue;
      items.push_back(shown_tuned({.job = job, .checkpoint = checkpoint_of(job)}, owner));
    }
    if (!page->has_more || page->jobs.empty()) break;
    after = page->jobs.back().id;
  }
  return {};
}

/// What other tenants let the caller use.
ApiResult<void> add_granted_models(const ApiContext& context, const std::string& owner,
                                   std::vector<json>& items) {
  for (const MadeModel& model : context.model_access.granted_to(owner)) {
    const auto job = context.jobs.get(model.job);
    if (!job && job.error().code == ErrorCode::kNotFound) continue;
    if (!job) return api_fail(to_api_error(job.error()));
    if (job->owner == owner) continue;
    items.push_back(shown_tuned({.job = *job, .step = model.step}, owner));
  }
  return {};
}

/// The models directory, and the tuned models that the caller may use.
ApiReply list_models(const ApiContext& context, HttpRequest& request) {
  const auto base = context.models.list();
  if (!base) return api_fail(to_api_error(base.error()));
  std::vector<json> items;
  for (const CatalogModel& model : *base) items.push_back(shown_base(model));
  for (auto add : {add_own_models, add_granted_models}) {
    if (const auto added = add(context, request.owner, items); !added) {
      return api_fail(added.error());
    }
  }
  return json_reply(to_openai_page(std::move(items), false));
}

ApiReply get_model(const ApiContext& context, HttpRequest& request) {
  const std::string& id = request.path_values.at("id");
  if (id.starts_with("ft:")) {
    const auto tuned = find_tuned_model(context.jobs, context.model_access, context.jobs_directory,
                                        request.owner, id);
    if (!tuned) return api_fail(unknown_model(tuned.error()));
    return json_reply(shown_tuned(*tuned, request.owner));
  }
  const auto model = context.models.find(id);
  if (!model) return api_fail(unknown_model(model.error()));
  return json_reply(shown_base(*model));
}

/// True when the job, once started, reads what `maker` has made.
bool starts_from(const JobRecord& job, const std::string& maker) {
  if (!job.spec.is_object()) return false;
  const std::string folder = "/" + maker + "/";
  const auto is_inside = [&](const json& path) {
    return path.is_string() && path.get_ref<const std::string&>().find(folder) != std::string::npos;
  };
  if (is_inside(job.spec.value("resume_from_checkpoint", json()))) return true;
  for (const json& adapter : job.spec.value("adapters", json::array())) {
    if (is_inside(adapter)) return true;
  }
  return false;
}

ApiResult<void> check_unused(const ApiContext& context, const HttpRequest& request,
                             const std::string& maker) {
  const auto user = find_unfinished_job(
      context.jobs, "", [&](const JobRecord& job) { return starts_from(job, maker); });
  if (!user) return api_fail(to_api_error(user.error()));
  if (!*user) return {};
  const JobRecord& job = **user;
  const std::string shown = job.owner == request.owner
                                ? job_in_the_way(job)
                                : "one of another tenant's, which may use the model";
  return api_fail(to_api_error(
      {ErrorCode::kConflict, "the model is in use by a job that has not ended: " + shown}));
}

/// Removes the checkpoints of a run. What cannot be removed is told to the service's operator: for
/// clients the model is gone already.
void remove_checkpoints(const std::filesystem::path& run_directory) {
  std::error_code error;
  std::vector<std::filesystem::path> gone;
  for (const auto& entry : std::filesystem::directory_iterator(run_directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("checkpoint-") || name == "latest") gone.push_back(entry.path());
  }
  for (const auto& path : gone) {
    std::filesystem::remove_all(path, error);
    if (error) {
      log::error(fmt::format("a deleted model's checkpoint is still on the disk, remove it: {}: {}",
                             path.string(), error.message()));
    }
  }
}

/// Deletes what a job of the caller's has made: the model and every checkpoint.
ApiReply delete_model(const ApiContext& context, HttpRequest& request) {
  const std::string& id = request.path_values.at("id");
  if (!id.starts_with("ft:")) {
    const auto base = context.models.find(id);
    if (!base) return api_fail(unknown_model(base.error()));
    return api_fail(bad_request(
        "base models are not deleted over the API; remove the folder from the models directory: " +
        id));
  }
  const auto tuned = find_tuned_model(context.jobs, context.model_access, context.jobs_directory,
                                      request.owner, id);
  if (!tuned) return api_fail(unknown_model(tuned.error()));
  if (tuned->job.owner != request.owner) {
    return api_fail(unknown_model(
        {ErrorCode::kNotFound, "no such tuned model among your finished jobs: " + id}));
  }
  if (tuned->step) {
    return api_fail(
        bad_request("a model is deleted as a whole, by its name without :ckpt-step-N: " + id));
  }
  const std::string job = tuned->job.id;
  if (const auto unused = check_unused(context, request, job); !unused) {
    return api_fail(unused.error());
  }
  if (const auto marked = context.model_access.mark_deleted(job); !marked) {
    return api_fail(to_api_error(marked.error()));
  }
  remove_checkpoints(context.jobs_directory / job);
  return json_reply({{"id", id}, {"object", "model"}, {"deleted", true}});
}

}  // namespace

std::vector<Route> model_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {{"GET",
           "/v1/models",
           bind(list_models),
           Scope::kRead,
           {.summary = "Lists the base models, and the tuned ones that you may use",
            .reply = "ModelPage"}},
          {"GET",
           "/v1/models/{id}",
           bind(get_model),
           Scope::kRead,
           {.summary = "Tells about a model", .reply = "Model"}},
          {"DELETE",
           "/v1/models/{id}",
           bind(delete_model),
           Scope::kSubmit,
           {.summary = "Deletes a tuned model and its checkpoints", .reply = "Deleted"}}};
}

}  // namespace tunefleet::coordinator
