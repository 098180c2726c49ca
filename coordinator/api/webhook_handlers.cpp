#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/webhooks/webhook_event.h"
#include "coordinator/webhooks/webhook_service.h"
#include "proto/utf8_text.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kMaxName = 256;
constexpr int64_t kDefaultPage = 20;
constexpr int64_t kMaxPage = 100;

json to_openai_endpoint(const WebhookEndpoint& endpoint) {
  return {{"id", endpoint.id},
          {"object", "webhook_endpoint"},
          {"created_at", endpoint.created_at},
          {"updated_at", endpoint.updated_at},
          {"event_types", endpoint.event_types},
          {"name", endpoint.name},
          {"url", endpoint.url},
          {"signing_secret_hint", endpoint.secret_hint()}};
}

/// The only two replies that carry the secret: of its creation and its rotation.
HttpReply reply_with_secret(const WebhookEndpoint& endpoint) {
  json shown = to_openai_endpoint(endpoint);
  shown["signing_secret"] = endpoint.secret;
  return json_reply(shown);
}

ApiError to_webhook_error(const Error& error) { return to_share_error(error, "too_many_webhooks"); }

std::string known_types() { return fmt::format("{}", fmt::join(kWebhookEventTypes, ", ")); }

ApiResult<std::optional<std::string>> name_field(const json& body) {
  const json name = body.value("name", json());
  if (name.is_null()) return std::nullopt;
  const std::string text = name.is_string() ? name.get<std::string>() : "";
  if (!text.empty() && characters_in(text) <= kMaxName) return text;
  return api_fail(
      bad_request(fmt::format("name: must be a text of 1 to {} characters", kMaxName), "name"));
}

ApiResult<std::optional<std::string>> url_field(const ApiContext& context, const json& body) {
  const json url = body.value("url", json());
  if (url.is_null()) return std::nullopt;
  if (!url.is_string()) return api_fail(bad_request("url: must be a text", "url"));
  const auto checked = context.webhooks.check_url(url.get<std::string>());
  if (!checked) return api_fail(bad_request("url: " + checked.error().message, "url"));
  return url.get<std::string>();
}

ApiResult<std::optional<std::vector<std::string>>> types_field(const json& body) {
  const json given = body.value("event_types", json());
  if (given.is_null()) return std::nullopt;
  std::vector<std::string> types;
  for (const json& type : given.is_array() ? given : json::array()) {
    const std::string text = type.is_string() ? type.get<std::string>() : type.dump();
    if (!is_webhook_event_type(text)) {
      return api_fail(
          bad_request(fmt::format("event_types: there is no such event here: {}; there are {}",
                                  text, known_types()),
                      "event_types"));
    }
    if (std::find(types.begin(), types.end(), text) == types.end()) types.push_back(text);
  }
  if (!types.empty()) return types;
  return api_fail(
      bad_request(fmt::format("event_types: must be a list of one or more of {}", known_types()),
                  "event_types"));
}

ApiResult<WebhookChange> read_change(const ApiContext& context, HttpRequest& request) {
  const auto body = read_json_object(request);
  if (!body) return api_fail(body.error());
  auto name = name_field(*body);
  if (!name) return api_fail(name.error());
  auto url = url_field(context, *body);
  if (!url) return api_fail(url.error());
  auto types = types_field(*body);
  if (!types) return api_fail(types.error());
  return WebhookChange{
      .name = std::move(*name), .url = std::move(*url), .event_types = std::move(*types)};
}

ApiReply create_endpoint(const ApiContext& context, HttpRequest& request) {
  const auto wish = read_change(context, request);
  if (!wish) return api_fail(wish.error());
  const char* missing = !wish->name          ? "name"
                        : !wish->url         ? "url"
                        : !wish->event_types ? "event_types"
                                             : nullptr;
  if (missing != nullptr)
    return api_fail(bad_request(fmt::format("{}: is missing", missing), missing));
  const auto made = context.webhooks.endpoints().create(request.owner, *wish->name, *wish->url,
                                                        *wish->event_types);
  if (!made) return api_fail(to_webhook_error(made.error()));
  return reply_with_secret(*made);
}

ApiReply list_endpoints(const ApiContext& context, HttpRequest& request) {
  const auto limit = query_number(request, "limit", kDefaultPage, 1, kMaxPage);
  if (!limit) return api_fail(limit.error());
  const auto mine = context.webhooks.endpoints().list(request.owner);
  auto first = mine.begin();
  if (const auto after = request.query_value("after")) {
    first = std::find_if(mine.begin(), mine.end(), [&](const auto& e) { return e.id == *after; });
    if (first == mine.end()) {
      return api_fail(not_found("no such webhook endpoint: " + *after, "after"));
    }
    ++first;
  }
  std::vector<json> items;
  while (first != mine.end() && static_cast<int64_t>(items.size()) < *limit) {
    items.push_back(to_openai_endpoint(*first++));
  }
  return json_reply(to_openai_page(std::move(items), first != mine.end()));
}

ApiReply get_endpoint(const ApiContext& context, HttpRequest& request) {
  const auto endpoint =
      context.webhooks.endpoints().get(request.owner, request.path_values.at("id"));
  if (!endpoint) return api_fail(to_webhook_error(endpoint.error()));
  return json_reply(to_openai_endpoint(*endpoint));
}

ApiReply update_endpoint(const ApiContext& context, HttpRequest& request) {
  const auto change = read_change(context, request);
  if (!change) return api_fail(change.error());
  const auto endpoint =
      context.webhooks.endpoints().update(request.owner, request.path_values.at("id"), *change);
  if (!endpoint) return api_fail(to_webhook_error(endpoint.error()));
  return json_reply(to_openai_endpoint(*endpoint));
}

ApiReply delete_endpoint(const ApiContext& context, HttpRequest& request) {
  const std::string& id = request.path_values.at("id");
  const auto removed = context.webhooks.endpoints().remove(request.owner, id);
  if (!removed) return api_fail(to_webhook_error(removed.error()));
  return json_reply({{"id", id}, {"object", "webhook_endpoint.deleted"}, {"deleted", true}});
}

ApiReply rotate_secret(const ApiContext& context, HttpRequest& request) {
  const auto body = read_json_object(request);
  if (!body) return api_fail(body.error());
  const json keep = body->value("keep_old_secret_active_for_24_hours", json(false));
  if (!keep.is_boolean()) {
    return api_fail(bad_request("must be true or false", "keep_old_secret_active_for_24_hours"));
  }
  const auto endpoint = context.webhooks.endpoints().rotate_secret(
      request.owner, request.path_values.at("id"), keep.get<bool>());
  if (!endpoint) return api_fail(to_webhook_error(endpoint.error()));
  return reply_with_secret(*endpoint);
}

/// The endpoint's fault, not ours: 400, which clients do not try again by themselves.
ApiError to_test_error(const Error& error) {
  if (error.code == ErrorCode::kResourceExhausted) return to_webhook_error(error);
  ApiError api = bad_request("the test could not be delivered: " + error.message, "url");
  api.code = "webhook_test_failed";
  return api;
}

ApiReply test_endpoint(const ApiContext& context, HttpRequest& request) {
  const auto body = read_json_object(request);
  if (!body) return api_fail(body.error());
  const auto type = body->value("event_type", json());
  if (!type.is_string() || !is_webhook_event_type(type.get<std::string>())) {
    return api_fail(bad_request("event_type: must be one of " + known_types(), "event_type"));
  }
  const auto endpoint =
      context.webhooks.endpoints().get(request.owner, request.path_values.at("id"));
  if (!endpoint) return api_fail(to_webhook_error(endpoint.error()));
  const auto status = context.webhooks.send_test(*endpoint, type.get<std::string>());
  if (!status) return api_fail(to_test_error(status.error()));
  return json_reply({{"object", "webhook_endpoint.test"},
                     {"webhook_endpoint_id", endpoint->id},
                     {"event_type", type},
                     {"success", true},
                     {"status_code", *status}});
}

ApiReply list_event_types(const ApiContext&, HttpRequest&) {
  const std::vector<std::string> types(std::begin(kWebhookEventTypes),
                                       std::end(kWebhookEventTypes));
  return json_reply({{"object", "list"}, {"data", types}});
}

}  // namespace

std::vector<Route> webhook_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {
      {"GET",
       "/v1/webhook_event_types",
       bind(list_event_types),
       Scope::kRead,
       {.summary = "Lists the events that webhooks can be told of", .reply = "WebhookEventTypes"}},
      {"POST",
       "/v1/webhook_endpoints",
       bind(create_endpoint),
       Scope::kSubmit,
       {.summary = "Makes a webhook endpoint; its secret is shown once",
        .reply = "WebhookEndpoint",
        .request = "CreateWebhookEndpoint"}},
      {"GET",
       "/v1/webhook_endpoints",
       bind(list_endpoints),
       Scope::kRead,
       {.summary = "Lists your webhook endpoints, newest first",
        .reply = "WebhookEndpointPage",
        .query = {{"after", "Id of the last endpoint of the page before"},
                  {"limit", "1 to 100, default 20", "integer", 1, 100}}}},
      {"GET",
       "/v1/webhook_endpoints/{id}",
       bind(get_endpoint),
       Scope::kRead,
       {.summary = "Tells about a webhook endpoint", .reply = "WebhookEndpoint"}},
      {"POST",
       "/v1/webhook_endpoints/{id}",
       bind(update_endpoint),
       Scope::kSubmit,
       {.summary = "Changes a webhook endpoint",
        .reply = "WebhookEndpoint",
        .request = "ChangeWebhookEndpoint",
        .may_lack_body = true}},
      {"DELETE",
       "/v1/webhook_endpoints/{id}",
       bind(delete_endpoint),
       Scope::kSubmit,
       {.summary = "Removes a webhook endpoint", .reply = "Deleted"}},
      {"POST",
       "/v1/webhook_endpoints/{id}/rotate_secret",
       bind(rotate_secret),
       Scope::kSubmit,
       {.summary = "Gives a webhook endpoint a new secret",
        .reply = "WebhookEndpoint",
        .request = "RotateWebhookSecret",
        .may_lack_body = true}},
      {"POST",
       "/v1/webhook_endpoints/{id}/test",
       bind(test_endpoint),
       Scope::kSubmit,
       {.summary = "Sends a sample event now", .reply = "WebhookTest", .request = "TestWebhook"}}};
}

}  // namespace tunefleet::coordinator
