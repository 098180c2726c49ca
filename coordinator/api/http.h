#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/api_scope.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Takes a body piece by piece; false stops the reading.
using BodyReceiver = std::function<bool(std::string_view piece)>;

/// One request as the handlers see it. The body is still on the socket until read_body is called.
struct HttpRequest {
  std::string id;                                 ///< "req_…": also in the reply's x-request-id.
  std::string method;                             ///< GET, POST, …
  std::string raw_path;                           ///< As sent, percent-encoded, without the query.
  std::multimap<std::string, std::string> query;  ///< Decoded.
  std::map<std::string, std::string> headers;  ///< Names in lower case; of repeated ones the first.
  std::string remote_address;                  ///< Of the connection's other end, without the port.
  std::string owner;                           ///< The key's tenant; empty before authentication.
  std::string key_id;                          ///< Of the key; empty before authentication.
  Scope scope = Scope::kNone;                  ///< What the key may do.
  std::map<std::string, std::string> path_values;  ///< {id} of the route, decoded.
  std::shared_ptr<void> seat;  ///< Kept until the reply is out, a streamed one too.
  /// What every reply to this request carries.
  std::vector<std::pair<std::string, std::string>> reply_headers;
  /// Hands the body over, at most `max_bytes` of it. kResourceExhausted when it is longer, kTimeout
  /// when it comes too slowly, kInvalidArgument when it is cut short or the receiver said stop.
  std::function<Status(uint64_t max_bytes, const BodyReceiver& receive)> read_body;
  /// False once the client has gone or the server stops: for handlers that wait for something.
  std::function<bool()> is_open;

  /// The header's value; empty when it is absent. `name` in lower case.
  std::string header(const std::string& name) const;
  std::optional<std::string> query_value(const std::string& name) const;
};

/// Where a streamed reply goes. Both are false once the client has gone or the server stops.
struct ReplySink {
  std::function<bool(std::string_view piece)> write;
  std::function<bool()> is_open;
};

/// One reply: a text, a file, or a stream.
struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<std::filesystem::path> file;     ///< Sent instead of `body`.
  std::function<void(const ReplySink&)> stream;  ///< Runs on the connection's thread, chunked.
};

using HttpHandler = std::function<HttpReply(HttpRequest&)>;

/// "%2F" -> "/"; a plus stays a plus. nullopt for a broken escape or a NUL.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace tunefleet::coordinator
