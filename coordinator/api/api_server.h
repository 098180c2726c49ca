#pragma once

#include <memory>

#include "coordinator/api/api_context.h"
#include "coordinator/api/http_server.h"

namespace tunefleet::coordinator {

/// The REST API: OpenAI's files, fine-tuning and models addresses, and a few of ours. See api.md.
class ApiServer {
 public:
  /// Binds and serves until it is destroyed. What `context` refers to outlives the server.
  static Result<std::unique_ptr<ApiServer>> start(const HttpServerOptions& options,
                                                  const ApiContext& context);
  ~ApiServer();

  int port() const;
  void stop();
  /// Every address there is.
  std::vector<const Route*> routes() const { return router_.routes(); }

 private:
  explicit ApiServer(const ApiContext& context);

  const ApiContext context_;
  AccessControl access_;
  const Router router_;
  std::unique_ptr<HttpServer> server_;  // Last: its threads use the others.
};

}  // namespace tunefleet::coordinator
