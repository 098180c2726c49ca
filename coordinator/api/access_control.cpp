#include "coordinator/api/access_control.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr std::string_view kBearer = "Bearer ";
constexpr size_t kMaxKey = 256;
constexpr size_t kShownKey = 7;
constexpr int64_t kSeatRetry_ms = 1000;

ApiError wrong_key(std::string message, const char* code) {
  ApiError error = bad_request(std::move(message));
  error.status = 401;
  error.code = code;
  return error;
}

ApiError missing_scope(const HttpRequest& request, Scope needed) {
  ApiError error = bad_request(
      fmt::format("the API key may not do this: it needs the scope {}, the key has {}; make "
                  "another with `tunefleet keys create`: {} {}",
                  scope_name(needed), scope_name(request.scope), request.method, request.raw_path));
  error.status = 403;
  error.code = "insufficient_scope";
  error.may_retry = false;
  return error;
}

/// "20ms", "1s", "6m0s": as OpenAI spells how long it takes.
std::string wait_text(int64_t ms) {
  if (ms < 1000) return fmt::format("{}ms", ms);
  const int64_t seconds = (ms + 999) / 1000;
  if (seconds < 60) return fmt::format("{}s", seconds);
  return fmt::format("{}m{}s", seconds / 60, seconds % 60);
}

ApiError over_limit(std::string message, const RateDecision& decision) {
  ApiError error = bad_request(fmt::format("{}: {} at once; try again in {}", message,
                                           decision.limit, wait_text(decision.retry_ms)));
  error.status = 429;
  error.type = "requests";
  error.code = "rate_limit_exceeded";
  error.headers = {{"retry-after-ms", std::to_string(decision.retry_ms)},
                   {"retry-after", std::to_string((decision.retry_ms + 999) / 1000)}};
  return error;
}

void tell_limit(const RateDecision& decision, HttpRequest& request) {
  if (decision.limit == 0) return;
  request.reply_headers = {{"x-ratelimit-limit-requests", std::to_string(decision.limit)},
                           {"x-ratelimit-remaining-requests", std::to_string(decision.remaining)},
                           {"x-ratelimit-reset-requests", wait_text(decision.reset_ms)}};
}

bool changes_something(const HttpRequest& request) {
  return request.method != "GET" && request.method != "HEAD" && request.method != "OPTIONS";
}

/// What a request was about: the last variable of its address, or the id of what it made.
std::string object_of(const HttpRequest& request, const Route* route, const HttpReply& reply) {
  if (route == nullptr) return {};
  const size_t open = route->pattern.rfind('{');
  if (open != std::string_view::npos) {
    const size_t close = route->pattern.find('}', open);
    const auto found =
        request.path_values.find(std::string(route->pattern.substr(open + 1, close - open - 1)));
    return found == request.path_values.end() ? "" : found->second;
  }
  if (!is_create(*route) || reply.status != 200 || reply.stream || reply.file) return {};
  const json made = json::parse(reply.body, nullptr, false);
  const bool named = made.is_object() && made.contains("id") && made["id"].is_string();
  return named ? made["id"].get<std::string>() : std::string();
}

}  // namespace

AccessControl::AccessControl(const ApiKeys& keys, const RateLimits& limits, AuditLogOptions audit,
                             std::function<int64_t()> now_ms)
    : keys_(keys),
      requests_(limits.requests, now_ms),
      creates_(limits.creates, now_ms),
      wrong_keys_(limits.wrong_keys, now_ms),
      seats_(limits.at_once),
      audit_(std::move(audit), now_ms) {}

/// An address that is not there needs a key too: strangers learn nothing about what is.
ApiResult<void> AccessControl::admit(HttpRequest& request, const Route* route) {
  const Scope needed = route == nullptr ? Scope::kRead : route->scope;
  if (needed == Scope::kNone) return {};
  if (auto known = authenticate(request); !known) return known;
  if (auto within = spend(request, route); !within) return within;
  if (auto seated = seat(request); !seated) return seated;
  if (route != nullptr && request.scope < needed) return api_fail(missing_scope(request, needed));
  return {};
}

ApiResult<void> AccessControl::authenticate(HttpRequest& request) {
  const std::string header = request.header("authorization");
  if (!header.starts_with(kBearer)) {
    return refuse_key(request,
                      wrong_key("no API key: send it as \"Authorization: Bearer tf-...\"; the "
                                "first one is in admin.key of the service's data directory",
                                "missing_api_key"));
  }
  const std::string text = header.substr(kBearer.size());
  const auto key =
      text.size() <= kMaxKey
          ? keys_.find(text)
          : Result<ApiKey>(fail(ErrorCode::kPermissionDenied, "the API key is too long"));
  if (!key) {
    return refuse_key(request,
                      wrong_key(fmt::format("{}: {}***", key.error().message,
                                            text.substr(0, std::min(kShownKey, text.size() / 2))),
                                "invalid_api_key"));
  }
  request.owner = key->owner;
  request.key_id = key->id;
  request.scope = key->scope;
  return {};
}

ApiResult<void> AccessControl::refuse_key(const HttpRequest& request, ApiError error) {
  const auto decision = wrong_keys_.take(request.remote_address);
  if (decision.allowed) return api_fail(std::move(error));
  return api_fail(
      over_limit("too many requests without a right API key from this address", decision));
}

ApiResult<void> AccessControl::spend(HttpRequest& request, const Route* route) {
  const auto decision = requests_.take(request.key_id);
  tell_limit(decision, request);
  if (!decision.allowed) {
    return api_fail(over_limit("too many requests with this API key", decision));
  }
  if (route == nullptr || !is_create(*route)) return {};
  const auto create = creates_.take(request.key_id);
  if (create.limit > 0 && create.remaining <= decision.remaining) tell_limit(create, request);
  if (create.allowed) return {};
  return api_fail(over_limit("too many things made with this API key", create));
}

ApiResult<void> AccessControl::seat(HttpRequest& request) {
  request.seat = seats_.take(request.owner);
  if (request.seat) return {};
  return api_fail(
      over_limit("too many requests of this tenant are being answered",
                 {.limit = static_cast<int64_t>(seats_.limit()), .retry_ms = kSeatRetry_ms}));
}

/// Requests over a limit are not in the log: they would crowd out the rest.
void AccessControl::conclude(const HttpRequest& request, const Route* route, HttpReply& reply) {
  for (const auto& header : request.reply_headers) reply.headers.push_back(header);
  const bool denied = reply.status == 401 || reply.status == 403;
  if (reply.status == 429 || !(denied || changes_something(request))) return;
  audit_.record({.request = request.id,
                 .tenant = request.owner,
                 .key = request.key_id,
                 .remote = request.remote_address,
                 .method = request.method,
                 .route = route == nullptr ? "" : std::string(route->pattern),
                 .object = object_of(request, route, reply),
                 .status = reply.status});
}

}  // namespace tunefleet::coordinator
