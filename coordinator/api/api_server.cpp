#include "coordinator/api/api_server.h"

#include <fmt/format.h>

#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr size_t kMaxKey = 256;
constexpr size_t kShownKey = 7;

ApiError wrong_key(std::string message, const char* code) {
  return {.status = 401,
          .message = std::move(message),
          .type = "invalid_request_error",
          .param = std::nullopt,
          .code = code,
          .may_retry = true};
}

/// The owner of the key in `Authorization: Bearer tf-…`.
ApiResult<std::string> authenticate(const ApiKeys& keys, const HttpRequest& request) {
  const std::string header = request.header("authorization");
  if (!header.starts_with(kBearer)) {
    return api_fail(
        wrong_key("no API key: send it as \"Authorization: Bearer tf-...\"; the first "
                  "one is in admin.key of the service's data directory",
                  "missing_api_key"));
  }
  const std::string key = header.substr(kBearer.size());
  auto owner = key.size() <= kMaxKey ? keys.owner_of(key)
                                     : Result<std::string>(fail(ErrorCode::kPermissionDenied, ""));
  if (owner) return std::move(*owner);
  return api_fail(wrong_key(fmt::format("the API key is not known here: {}***",
                                        key.substr(0, std::min(kShownKey, key.size() / 2))),
                            "invalid_api_key"));
}

std::vector<Route> all_routes(const ApiContext& context) {
  std::vector<Route> routes;
  for (auto make : {file_routes, job_routes, event_routes, model_routes, fleet_routes}) {
    for (auto& route : make(context)) routes.push_back(std::move(route));
  }
  return routes;
}

}  // namespace

ApiServer::ApiServer(const ApiContext& context)
    : context_(context), router_(all_routes(context_), [this](const HttpRequest& request) {
        return authenticate(context_.keys, request);
      }) {}

ApiServer::~ApiServer() { stop(); }

Result<std::unique_ptr<ApiServer>> ApiServer::start(const HttpServerOptions& options,
                                                    const ApiContext& context) {
  std::unique_ptr<ApiServer> api(new ApiServer(context));
  auto server = HttpServer::start(options, [router = &api->router_](HttpRequest& request) {
    return router->reply_to(request);
  });
  if (!server) return fail(server.error());
  api->server_ = std::move(*server);
  return api;
}

int ApiServer::port() const { return server_->port(); }

void ApiServer::stop() {
  if (server_) server_->stop();
}

}  // namespace tunefleet::coordinator
