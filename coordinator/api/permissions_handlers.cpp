#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/api/page.h"
#include "coordinator/api/tuned_model.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kPage = 10;
constexpr size_t kMaxTenants = 100;
constexpr const char* kObject = "checkpoint.permission";

json shown(const ModelPermission& permission) {
  return {{"id", permission.id},
          {"object", kObject},
          {"created_at", permission.created_at},
          {"project_id", permission.tenant}};
}

/// What the address names, if a job of the caller's tenant has made it: who may use somebody else's
/// model may not hand it on.
ApiResult<MadeModel> find_own_model(const ApiContext& context, const HttpRequest& request) {
  const std::string& name = request.path_values.at("id");
  const auto found = find_tuned_model(context.jobs, context.model_access, context.jobs_directory,
                                      request.owner, name);
  if (!found) return api_fail(to_api_error(found.error()));
  if (found->job.owner != request.owner) {
    return api_fail(not_found("no such tuned model among your finished jobs: " + name));
  }
  return MadeModel{.job = found->job.id, .step = found->step};
}

ApiResult<std::vector<std::string>> read_tenants(const json& body) {
  const auto found = body.find("project_ids");
  if (found == body.end() || !found->is_array() || found->empty() || found->size() > kMaxTenants) {
    return api_fail(
        bad_request("project_ids: must be a list of 1 to 100 tenants' names", "project_ids"));
  }
  std::vector<std::string> tenants;
  for (const json& name : *found) {
    if (!name.is_string() || !is_tenant_name(name.get<std::string>())) {
      return api_fail(
          bad_request("project_ids: not a tenant's name: " + to_text(name), "project_ids"));
    }
    tenants.push_back(name.get<std::string>());
  }
  return tenants;
}

ApiReply create_permissions(const ApiContext& context, HttpRequest& request) {
  const auto model = find_own_model(context, request);
  if (!model) return api_fail(model.error());
  const auto text = read_text_body(request);
  if (!text) return api_fail(text.error());
  const auto body = parse_json_object(*text);
  if (!body) return api_fail(body.error());
  const auto tenants = read_tenants(*body);
  if (!tenants) return api_fail(tenants.error());
  const auto given = context.model_access.grant(*model, *tenants);
  if (!given) return api_fail(to_share_error(given.error(), "too_many_permissions"));
  std::vector<json> items;
  for (const ModelPermission& permission : *given) items.push_back(shown(permission));
  return json_reply(to_openai_page(std::move(items), false));
}

ApiReply list_permissions(const ApiContext& context, HttpRequest& request) {
  const auto model = find_own_model(context, request);
  if (!model) return api_fail(model.error());
  const std::string order = request.query_value("order").value_or("descending");
  if (order != "ascending" && order != "descending") {
    return api_fail(bad_request("order must be ascending or descending: " + order, "order"));
  }
  const auto tenant = request.query_value("project_id");
  std::vector<json> items;
  for (const ModelPermission& permission : context.model_access.permissions(*model)) {
    if (!tenant || permission.tenant == *tenant) items.push_back(shown(permission));
  }
  if (order == "descending") std::reverse(items.begin(), items.end());
  return page_reply(std::move(items), request, kPage);
}

ApiReply revoke_permission(const ApiContext& context, HttpRequest& request) {
  const auto model = find_own_model(context, request);
  if (!model) return api_fail(model.error());
  const std::string& id = request.path_values.at("permission");
  if (const auto gone = context.model_access.revoke(*model, id); !gone) {
    return api_fail(to_api_error(gone.error()));
  }
  return json_reply({{"id", id}, {"object", kObject}, {"deleted", true}});
}

}  // namespace

std::vector<Route> permission_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  constexpr std::string_view kAll = "/v1/fine_tuning/checkpoints/{id}/permissions";
  return {{"POST",
           kAll,
           bind(create_permissions),
           Scope::kAdmin,
           {.summary = "Lets other tenants use a tuned model or checkpoint",
            .reply = "PermissionPage",
            .request = "CreatePermissions"}},
          {"GET",
           kAll,
           bind(list_permissions),
           Scope::kAdmin,
           {.summary = "Lists who else may use a tuned model or checkpoint",
            .reply = "PermissionPage",
            .query = {{"after", "Id of the last permission of the page before"},
                      {"limit", "1 to 100, default 10", "integer", 1, 100},
                      {.name = "order",
                       .description = "By time; descending is the default",
                       .allowed = {"descending", "ascending"}},
                      {"project_id", "Only that tenant's permission"}}}},
          {"DELETE",
           "/v1/fine_tuning/checkpoints/{id}/permissions/{permission}",
           bind(revoke_permission),
           Scope::kAdmin,
           {.summary = "Takes a permission back", .reply = "Deleted"}}};
}

}  // namespace tunefleet::coordinator
