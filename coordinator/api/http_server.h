#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "coordinator/api/http.h"

namespace tunefleet::coordinator {

/// What a client may take of us, so that a slow or hostile one cannot hold a connection or our
/// memory.
struct StreamLimits {
  std::chrono::milliseconds idle{5'000};      ///< Between two requests of a kept connection.
  std::chrono::milliseconds headers{15'000};  ///< From a request's first byte to its last header.
  std::chrono::milliseconds piece{15'000};    ///< Between two pieces of a body, and for each write.
  std::chrono::milliseconds body_start{60'000};  ///< For a whole body: this, and its bytes at
  double body_bytes_per_ms = 64.0;               ///< this rate.
  size_t header_bytes = 64 * 1024;
  /// Instead of `idle` and `headers` while every connection is taken: who asks nothing gives way.
  std::chrono::milliseconds crowded{2'000};
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;                  ///< 0: a free one.
  size_t max_connections = 256;  ///< Further ones get 503 at once.
  StreamLimits limits = {};
};

/// Speaks HTTP/1.1 with one handler for every request. Bounds what a client may send and how slowly
/// (StreamLimits), gives each reply an x-request-id, and turns what goes wrong before or inside
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
