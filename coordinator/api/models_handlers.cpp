#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/api/tuned_model.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kPage = 100;
constexpr size_t kMaxModels = 10'000;
constexpr const char* kBaseOwner = "tunefleet";

json shown_base(const CatalogModel& model) {
  return to_openai_model(model.name, model.created_at, kBaseOwner);
}

json shown_tuned(const JobRecord& job) {
  json shown = to_openai_model(tuned_model_name(job), job.finished_at_ms / 1000, job.owner);
  shown["job"] = job.id;
  shown["checkpoint"] = job.result.is_object() ? job.result.value("checkpoint", json()) : json();
  return shown;
}

/// The models directory, and the adapters of the caller's finished jobs.
ApiReply list_models(const ApiContext& context, HttpRequest& request) {
  const auto base = context.models.list();
  if (!base) return api_fail(to_api_error(base.error()));
  std::vector<json> items;
  for (const CatalogModel& model : *base) items.push_back(shown_base(model));
  std::string after;
  while (items.size() < kMaxModels) {
    const auto page = context.jobs.list(request.owner, after, kPage);
    if (!page) return api_fail(to_api_error(page.error()));
    for (const JobRecord& job : page->jobs) {
      if (job.phase == JobPhase::kSucceeded) items.push_back(shown_tuned(job));
    }
    if (!page->has_more || page->jobs.empty()) break;
    after = page->jobs.back().id;
  }
  return json_reply(to_openai_page(std::move(items), false));
}

ApiError unknown_model(const Error& error) {
  ApiError api = to_api_error(error);
  if (error.code == ErrorCode::kNotFound) {
    api.param = "model";
    api.code = "model_not_found";
  }
  return api;
}

ApiReply get_model(const ApiContext& context, HttpRequest& request) {
  const std::string& id = request.path_values.at("id");
  if (id.starts_with("ft:")) {
    const auto tuned = find_tuned_model(context.jobs, context.jobs_directory, request.owner, id);
    if (!tuned) return api_fail(unknown_model(tuned.error()));
    json shown = shown_tuned(tuned->job);
    shown["id"] = id;
    shown["checkpoint"] = tuned->checkpoint.string();
    return json_reply(shown);
  }
  const auto model = context.models.find(id);
  if (!model) return api_fail(unknown_model(model.error()));
  return json_reply(shown_base(*model));
}

}  // namespace

std::vector<Route> model_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {{"GET", "/v1/models", bind(list_models)}, {"GET", "/v1/models/{id}", bind(get_model)}};
}

}  // namespace tunefleet::coordinator
