#include "coordinator/api/incoming_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

#include "coordinator/api/chunked_body.h"
#include "coordinator/api/ids.h"
#include "coordinator/api/request_framing.h"

namespace tunefleet::coordinator {
namespace {

/// Where a multipart Content-Type is kept: httplib would otherwise parse the parts itself,
/// unbounded.
constexpr const char* kContentType = "Content-Type";
constexpr const char* kKeptContentType = "X-Tunefleet-Content-Type";
/// Where a method is kept that httplib would treat in its own way: before any handler it reads what
/// follows a PRI, unbounded.
constexpr const char* kKeptMethod = "X-Tunefleet-Method";
constexpr std::string_view kMethods[] = {"GET",   "HEAD",   "POST",   "PUT",
                                         "PATCH", "DELETE", "OPTIONS"};

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// Chunks are read by us: httplib keeps a line of any length, and takes much that is no chunk.
Status read_pieces(const httplib::Request& request, const httplib::ContentReader& content,
                   SocketStream& stream, const BodyReceiver& receive) {
  if (request.has_header("Transfer-Encoding")) {
    return read_chunked_body([&stream](char* data, size_t size) { return stream.read(data, size); },
                             receive);
  }
  const bool complete = content([&](const char* data, size_t size) {
    return receive({data, size});
  });
  if (complete) return {};
  return fail(ErrorCode::kInvalidArgument, "the request's body is not complete");
}

}  // namespace

bool has_body(const httplib::Request& request) {
  return request.has_header("Transfer-Encoding") ||
         (request.has_header("Content-Length") &&
          request.get_header_value("Content-Length") != "0");
}

void prepare_request(httplib::Request& request, SocketStream& stream) {
  stream.begin_body();
  request.ranges.clear();
  request.path = "/";  // Routing is ours, on the raw path.
  request.headers.erase("Accept-Encoding");
  const std::string type = request.get_header_value(kContentType);
  request.headers.erase(kKeptContentType);
  request.headers.erase(kContentType);
  if (!type.empty()) request.headers.emplace(kKeptContentType, type);
  request.headers.erase(kKeptMethod);
  if (std::find(std::begin(kMethods), std::end(kMethods), request.method) == std::end(kMethods)) {
    request.headers.emplace(kKeptMethod, request.method);
    request.method = "GET";
    stream.close_after_reply();
  }
  if (is_framing_ambiguous(request) || lacks_length(request)) stream.close_after_reply();
}

HttpRequest to_http_request(const httplib::Request& from) {
  HttpRequest request;
  request.id = random_id("req_");
  request.method = from.has_header(kKeptMethod) ? from.get_header_value(kKeptMethod) : from.method;
  request.remote_address = from.remote_addr;
  request.raw_path = from.target.substr(0, from.target.find('?'));
  request.query = {from.params.begin(), from.params.end()};
  for (const auto& [name, value] : from.headers) {
    if (name == kKeptMethod) continue;
    request.headers.emplace(name == kKeptContentType ? "content-type" : lower_case(name), value);
  }
  return request;
}

std::function<Status(uint64_t, const BodyReceiver&)> body_reader(
    const httplib::Request& request, const httplib::ContentReader* content, SocketStream& stream,
    bool& consumed) {
  return [&request, content, &stream, &consumed](uint64_t max_bytes,
                                                 const BodyReceiver& receive) -> Status {
    if (content == nullptr || !has_body(request)) return {};
    const auto too_long = [max_bytes] {
      return fail(ErrorCode::kResourceExhausted,
                  fmt::format("the request's body is too long, at most {} bytes", max_bytes));
    };
    if (request.has_header("Content-Length") &&
        request.get_header_value<uint64_t>("Content-Length") > max_bytes) {
      return too_long();
    }
    uint64_t bytes = 0;
    const auto read = read_pieces(request, *content, stream, [&](std::string_view piece) {
      bytes += piece.size();
      return bytes <= max_bytes && receive(piece);
    });
    consumed = read.has_value();
    if (read) return {};
    if (bytes > max_bytes) return too_long();
    if (stream.timed_out()) {
      return fail(ErrorCode::kTimeout, "the request's body came too slowly");
    }
    return read;
  };
}

}  // namespace tunefleet::coordinator
