#include "coordinator/api/api_server.h"

#include <utility>

#include "coordinator/api/openapi_document.h"

namespace tunefleet::coordinator {
namespace {

std::vector<Route> all_routes(const ApiContext& context) {
  std::vector<Route> routes;
  for (auto make : {file_routes, upload_routes, job_routes, plan_routes, sweep_routes, event_routes,
                    model_routes, permission_routes, chat_routes, key_routes, webhook_routes,
                    fleet_routes}) {
    for (auto& route : make(context)) routes.push_back(std::move(route));
  }
  return with_openapi_document(std::move(routes));
}

}  // namespace

ApiServer::ApiServer(const ApiContext& context)
    : context_(context),
      access_(context_.keys, context_.limits, {.path = context_.audit_path}, context_.now_ms),
      router_(all_routes(context_), access_) {}

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
