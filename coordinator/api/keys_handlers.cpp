#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/page.h"
#include "proto/utf8_text.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kPage = 20;
constexpr size_t kMaxName = 64;
constexpr int64_t kMinLife_s = 60;
constexpr int64_t kMaxLife_s = int64_t{10} * 366 * 24 * 3600;

bool is_operator(const HttpRequest& request) { return request.owner == kOperatorTenant; }

json shown(const ApiKey& key, int64_t now_s) {
  return {{"id", key.id},
          {"object", "key"},
          {"tenant", key.owner},
          {"name", key.name},
          {"prefix", key.prefix},
          {"scopes", included_scopes(key.scope)},
          {"created_at", key.created_at},
          {"expires_at", key.expires_at ? json(*key.expires_at) : json()},
          {"expired", key.expires_at && *key.expires_at <= now_s}};
}

/// A field that is text, or `fallback` when it is absent.
ApiResult<std::string> text_field(const json& body, const char* name, std::string fallback) {
  const auto found = body.find(name);
  if (found == body.end() || found->is_null()) return fallback;
  if (found->is_string()) return found->get<std::string>();
  return api_fail(bad_request(fmt::format("{}: must be text", name), name));
}

ApiResult<Scope> read_scopes(const json& body) {
  const auto found = body.find("scopes");
  if (found == body.end() || !found->is_array() || found->empty()) {
    return api_fail(bad_request("scopes: must be a list out of read, submit and admin", "scopes"));
  }
  Scope most = Scope::kNone;
  for (const json& name : *found) {
    const auto scope = name.is_string() ? scope_from_name(name.get<std::string>()) : std::nullopt;
    if (!scope) {
      return api_fail(bad_request(
          fmt::format("scopes: there are read, submit and admin, not {}", to_text(name)),
          "scopes"));
    }
    most = std::max(most, *scope);
  }
  return most;
}

ApiResult<std::optional<int64_t>> read_expiry(const json& body, int64_t now_s) {
  const auto found = body.find("expires_after_s");
  if (found == body.end() || found->is_null()) return std::nullopt;
  const auto life = whole_number(*found);
  if (!life || *life < kMinLife_s || *life > kMaxLife_s) {
    return api_fail(bad_request(fmt::format("expires_after_s: must be a whole number of seconds "
                                            "from {} to {}: {}",
                                            kMinLife_s, kMaxLife_s, to_text(*found)),
                                "expires_after_s"));
  }
  return now_s + *life;
}

ApiResult<void> check_fields(const json& body) {
  for (const auto& [name, value] : body.items()) {
    if (name == "tenant" || name == "scopes" || name == "name" || name == "expires_after_s") {
      continue;
    }
    return api_fail(bad_request(
        fmt::format("unknown field, there are tenant, scopes, name and expires_after_s: {}", name),
        name));
  }
  return {};
}

ApiResult<NewApiKey> read_new_key(const json& body, const HttpRequest& request, int64_t now_s) {
  if (const auto known = check_fields(body); !known) return api_fail(known.error());
  const auto tenant = text_field(body, "tenant", request.owner);
  if (!tenant) return api_fail(tenant.error());
  if (!is_tenant_name(*tenant)) {
    return api_fail(bad_request(
        "tenant: must be 1 to 64 letters, digits, dots, underscores and hyphens, the first of them "
        "a letter or digit",
        "tenant"));
  }
  const auto name = text_field(body, "name", "");
  if (!name) return api_fail(name.error());
  if (characters_in(*name) > kMaxName) {
    return api_fail(bad_request("name: has more than 64 characters", "name"));
  }
  const auto scope = read_scopes(body);
  if (!scope) return api_fail(scope.error());
  const auto expiry = read_expiry(body, now_s);
  if (!expiry) return api_fail(expiry.error());
  return NewApiKey{.owner = *tenant, .scope = *scope, .expires_at = *expiry, .name = *name};
}

ApiReply create_key(const ApiContext& context, HttpRequest& request) {
  const auto text = read_text_body(request);
  if (!text) return api_fail(text.error());
  const auto body = parse_json_object(*text);
  if (!body) return api_fail(body.error());
  const int64_t now_s = context.now_ms() / 1000;
  const auto wanted = read_new_key(*body, request, now_s);
  if (!wanted) return api_fail(wanted.error());
  if (wanted->owner != request.owner && !is_operator(request)) {
    ApiError error =
        bad_request(fmt::format("keys of other tenants are made with a key of the tenant {}: {}",
                                kOperatorTenant, wanted->owner),
                    "tenant");
    error.status = 403;
    return api_fail(std::move(error));
  }
  const auto made = context.keys.create(*wanted);
  if (!made) return api_fail(to_share_error(made.error(), "too_many_keys"));
  json reply = shown(made->stored, now_s);
  reply["key"] = made->key;
  HttpReply answer = json_reply(reply);
  answer.headers.emplace_back("Cache-Control", "no-store");
  return answer;
}

/// The keys that the caller manages: the operator's all of them.
std::vector<ApiKey> managed_keys(const ApiContext& context, const HttpRequest& request) {
  return context.keys.list(is_operator(request) ? "" : request.owner);
}

ApiReply list_keys(const ApiContext& context, HttpRequest& request) {
  const auto tenant = request.query_value("tenant");
  std::vector<json> items;
  for (const ApiKey& key : managed_keys(context, request)) {
    if (!tenant || key.owner == *tenant) items.push_back(shown(key, context.now_ms() / 1000));
  }
  return page_reply(std::move(items), request, kPage);
}

ApiReply revoke_key(const ApiContext& context, HttpRequest& request) {
  const std::string& id = request.path_values.at("id");
  const auto managed = managed_keys(context, request);
  if (std::none_of(managed.begin(), managed.end(),
                   [&](const ApiKey& key) { return key.id == id; })) {
    return api_fail(not_found("no such API key: " + id));
  }
  const auto revoked = context.keys.revoke(id);
  if (!revoked) return api_fail(to_api_error(revoked.error()));
  return json_reply({{"id", id}, {"object", "key"}, {"deleted", true}});
}

}  // namespace

std::vector<Route> key_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {{"POST",
           "/v1/keys",
           bind(create_key),
           Scope::kAdmin,
           {.summary = "Makes an API key; the key itself is told this once",
            .reply = "CreatedKey",
            .request = "CreateKey"}},
          {"GET",
           "/v1/keys",
           bind(list_keys),
           Scope::kAdmin,
           {.summary = "Lists the tenant's API keys, newest first; the operator's key sees all",
            .reply = "KeyPage",
            .query = {{"after", "Id of the last key of the page before"},
                      {"limit", "1 to 100, default 20", "integer", 1, 100},
                      {"tenant", "Only that tenant's keys"}}}},
          {"DELETE",
           "/v1/keys/{id}",
           bind(revoke_key),
           Scope::kAdmin,
           {.summary = "Revokes an API key at once", .reply = "Deleted"}}};
}

}  // namespace tunefleet::coordinator
