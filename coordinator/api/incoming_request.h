#pragma once

#include <httplib.h>

#include <cstdint>
#include <functional>

#include "coordinator/api/http.h"
#include "coordinator/api/socket_stream.h"

namespace tunefleet::coordinator {

/// Runs before httplib looks at the request: takes away what we handle ourselves. A request after
/// which nothing more can be read is marked so at `stream`.
void prepare_request(httplib::Request& request, SocketStream& stream);

bool has_body(const httplib::Request& request);

/// All but read_body and is_open, of a request that was prepared.
HttpRequest to_http_request(const httplib::Request& from);

/// The request's read_body; everything it is given outlives it. `content` is null when httplib
/// takes no body for the method. Sets `consumed` once the body was read to its end.
std::function<Status(uint64_t max_bytes, const BodyReceiver& receive)> body_reader(
    const httplib::Request& request, const httplib::ContentReader* content, SocketStream& stream,
    bool& consumed);

}  // namespace tunefleet::coordinator
