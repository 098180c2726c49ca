#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "coordinator/api/http.h"

namespace tunefleet::coordinator {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;                  ///< 0: a free one.
  size_t max_connections = 256;  ///< Further ones get 503 at once.
};

/// Speaks HTTP/1.1 with one handler for every request. Bounds what a client may send and how slowly
/// (socket_stream.h), gives each reply an x-request-id, and turns what goes wrong before or inside
/// the handler into OpenAI's error shape.
class HttpServer {
 public:
  /// Binds and starts to serve on threads of its own. kConflict when the port is taken.
  static Result<std::unique_ptr<HttpServer>> start(const HttpServerOptions& options,
                                                   HttpHandler handler);
  virtual ~HttpServer() = default;

  virtual int port() const = 0;
  /// Takes no new request, ends streams, lets the others finish. Idempotent; the destructor does
  /// it.
  virtual void stop() = 0;
};

}  // namespace tunefleet::coordinator
