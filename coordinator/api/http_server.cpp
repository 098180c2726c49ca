#include "coordinator/api/http_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>
#include <utility>

#include "coordinator/api/api_error.h"
#include "coordinator/api/connection_pool.h"
#include "coordinator/api/ids.h"
#include "coordinator/api/incoming_request.h"
#include "coordinator/api/request_framing.h"
#include "coordinator/api/socket_stream.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

constexpr size_t kRequestsPerConnection = 1000;
constexpr int kBacklog = 512;
/// The connection this thread serves.
thread_local SocketStream* current_stream = nullptr;

/// Streams a file of a known size; a file cut short meanwhile ends the connection, which clients
/// notice.
void send_file(const std::filesystem::path& path, const std::string& type,
               httplib::Response& response) {
  auto file = std::make_shared<std::ifstream>(path, std::ios::binary);
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error || !*file) throw std::runtime_error("cannot read the file: " + path.string());
  if (size == 0) return response.set_content("", type);
  response.set_content_provider(
      size, type, [file](size_t offset, size_t length, httplib::DataSink& sink) {
        std::string piece(std::min<size_t>(length, 64 * 1024), '\0');
        file->seekg(static_cast<std::streamoff>(offset));
        file->read(piece.data(), static_cast<std::streamsize>(piece.size()));
        return file->gcount() > 0 && sink.write(piece.data(), static_cast<size_t>(file->gcount()));
      });
}

void send_stream(std::function<void(const ReplySink&)> stream, const std::string& type,
                 const std::atomic<bool>& stopping, httplib::Response& response) {
  response.set_chunked_content_provider(
      type, [stream = std::move(stream), &stopping](size_t, httplib::DataSink& sink) {
        bool open = true;
        const ReplySink out{
            .write =
                [&](std::string_view piece) {
                  open = open && !stopping && sink.write(piece.data(), piece.size());
                  return open;
                },
            .is_open = [&] { return open && !stopping && current_stream->is_writable(); }};
        stream(out);
        current_stream->close_after_reply();
        sink.done();
        return true;
      });
}

void send_reply(const HttpReply& reply, const std::string& id, const std::atomic<bool>& stopping,
                httplib::Response& response) {
  response.status = reply.status;
  response.set_header("x-request-id", id);
  for (const auto& [name, value] : reply.headers) response.set_header(name, value);
  if (reply.stream) {
    send_stream(reply.stream, reply.content_type, stopping, response);
  } else if (reply.file) {
    send_file(*reply.file, reply.content_type, response);
  } else {
    response.set_content(reply.body, reply.content_type);
  }
  if (current_stream->closes_after_reply()) response.set_header("Connection", "close");
}

/// What to say when httplib refuses a request before any handler has seen it.
HttpReply refusal(int status) {
  ApiError error = bad_request("the request is not valid HTTP");
  error.status = status;
  if (current_stream != nullptr && current_stream->headers_malformed()) {
    error.status = 400;
  } else if (current_stream != nullptr && current_stream->headers_too_long()) {
    error.status = 431;
    error.message = "the request's headers are too long";
  } else if (current_stream != nullptr && current_stream->timed_out()) {
    error.status = 408;
    error.message = "the request came too slowly";
  } else if (status == 414) {
    error.message = "the request's address is too long";
  } else if (status >= 500) {
    error = to_api_error({ErrorCode::kInternal, "the server could not answer"});
  }
  return error_reply(error);
}

class Server final : public HttpServer, private httplib::Server {
 public:
  Server(const HttpServerOptions& options, HttpHandler handler)
      : options_(options), handler_(std::move(handler)) {
    new_task_queue = [this] { return new ConnectionPool(options_.max_connections + 8); };
    // httplib's default allows a second server on the same port (SO_REUSEPORT).
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    set_tcp_nodelay(true);
    set_payload_max_length(UINT64_C(1) << 40);  // Bounded by read_body.
    Get("/", [this](const auto& from, auto& to) { serve(from, nullptr, to); });
    Options("/", [this](const auto& from, auto& to) { serve(from, nullptr, to); });
    const auto with_body = [this](const httplib::Request& from, httplib::Response& to,
                                  const httplib::ContentReader& content) {
      serve(from, &content, to);
    };
    Post("/", with_body).Put("/", with_body).Patch("/", with_body).Delete("/", with_body);
    set_error_handler(httplib::Server::Handler([](const auto&, httplib::Response& to) {
      if (to.body.empty()) fill_refusal(to);
    }));
    set_post_routing_handler([](const auto&, httplib::Response& to) {
      if (!to.has_header("x-request-id")) to.set_header("x-request-id", random_id("req_"));
    });
  }
  ~Server() override { stop(); }

  Status bind() {
    port_ = options_.port;
    const bool bound = options_.port == 0 ? (port_ = bind_to_any_port(options_.host)) > 0
                                          : bind_to_port(options_.host, options_.port);
    if (!bound) {
      return fail(ErrorCode::kConflict,
                  fmt::format("cannot listen there, is the port in use? Choose another with "
                              "--port: {}:{}",
                              options_.host, options_.port));
    }
    ::listen(svr_sock_, kBacklog);  // httplib's own 5 lets a burst wait for a repeated SYN.
    thread_ = std::thread([this] { listen_after_bind(); });
    while (!is_running()) std::this_thread::yield();
    return {};
  }

  int port() const override { return port_; }

  void stop() override {
    stopping_ = true;
    httplib::Server::stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  static void fill_refusal(httplib::Response& to) {
    const HttpReply reply = refusal(to.status);
    to.status = reply.status;
    to.set_content(reply.body, reply.content_type);
    if (current_stream != nullptr) current_stream->close_after_reply();
  }

  bool process_and_close_socket(socket_t socket) override {
    SocketStream stream(socket, options_.limits, stopping_,
                        [this] { return open_ >= options_.max_connections; });
    current_stream = &stream;
    if (++open_ > options_.max_connections) {
      refuse(stream);
    } else {
      converse(stream);
    }
    --open_;
    if (stream.closes_after_reply()) stream.linger();
    current_stream = nullptr;
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return true;
  }

  void converse(SocketStream& stream) {
    for (size_t left = kRequestsPerConnection; left > 0 && stream.wait_for_request(); --left) {
      bool closed = false;
      const bool answered = process_request(
          stream, left == 1, closed,
          [&stream](httplib::Request& request) { prepare_request(request, stream); });
      // httplib says nothing about a first line that it could not read to its end.
      if (!answered && (stream.headers_malformed() || stream.headers_too_long())) {
        answer_plainly(stream, refusal(400));
      }
      if (!answered || closed || stream.closes_after_reply()) return;
    }
  }

  static void refuse(SocketStream& stream) {
    HttpReply reply = error_reply(to_api_error(
        {ErrorCode::kUnavailable, "too many connections at the same time, try again"}));
    reply.headers.emplace_back("Retry-After", "1");
    answer_plainly(stream, reply);
  }

  /// Writes a reply without httplib, and ends the connection.
  static void answer_plainly(SocketStream& stream, const HttpReply& reply) {
    std::string text = fmt::format(
        "HTTP/1.1 {} Refused\r\nContent-Type: application/json\r\nConnection: close\r\n"
        "x-request-id: {}\r\nContent-Length: {}\r\n",
        reply.status, random_id("req_"), reply.body.size());
    for (const auto& [name, value] : reply.headers) text += fmt::format("{}: {}\r\n", name, value);
    text += "\r\n" + reply.body;
    stream.close_after_reply();
    stream.write(text.data(), text.size());
  }

  void serve(const httplib::Request& from, const httplib::ContentReader* content,
             httplib::Response& to) {
    HttpRequest request = to_http_request(from);
    bool consumed = false;
    request.read_body = body_reader(from, content, *current_stream, consumed);
    request.is_open = [this] { return !stopping_ && current_stream->is_writable(); };
    HttpReply reply = is_framing_ambiguous(from) ? refusal(400) : answer(request);
    current_stream->keep_for_reply(std::move(request.seat));
    if (has_body(from) && !consumed) current_stream->close_after_reply();
    send_reply(reply, request.id, stopping_, to);
  }

  HttpReply answer(HttpRequest& request) {
    try {
      return handler_(request);
    } catch (const std::exception& error) {
      log::error(
          fmt::format("{} {} {}: {}", request.id, request.method, request.raw_path, error.what()));
      return error_reply(to_api_error(
          {ErrorCode::kInternal,
           fmt::format("something broke in the server; its log tells what under {}", request.id)}));
    }
  }

  HttpServerOptions options_;
  HttpHandler handler_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> open_{0};
  std::thread thread_;
  int port_ = 0;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpServerOptions& options,
                                                      HttpHandler handler) {
  auto server = std::make_unique<Server>(options, std::move(handler));
  if (const auto bound = server->bind(); !bound) return fail(bound.error());
  return server;
}

}  // namespace tunefleet::coordinator
