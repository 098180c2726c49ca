#include "coordinator/client/api_client.h"

#include <fmt/format.h>
#include <httplib.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "coordinator/client/event_stream.h"
#include "coordinator/client/json_fields.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr seconds kConnectTimeout{5};
constexpr seconds kAnswerTimeout{30};       // The service pings a stream every ten seconds.
constexpr seconds kFirstEventTimeout{600};  // A model is loaded first, and others may be ahead.
constexpr std::chrono::milliseconds kRetryPause{500};
constexpr int kRetries = 2;
constexpr size_t kUploadPiece = 256 << 10;

ErrorCode code_of_status(int status) {
  switch (status) {
    case 400:
    case 422:
      return ErrorCode::kInvalidArgument;
    case 401:
    case 403:
      return ErrorCode::kPermissionDenied;
    case 404:
      return ErrorCode::kNotFound;
    case 409:
      return ErrorCode::kConflict;
    case 413:
    case 507:
      return ErrorCode::kResourceExhausted;
    case 408:
    case 429:
    case 502:
    case 503:
    case 504:
      return ErrorCode::kUnavailable;
    default:
      return ErrorCode::kInternal;
  }
}

Error error_of_answer(const ServiceAddress& address, int status, const std::string& body) {
  std::string message = text_at(field_at(json::parse(body, nullptr, false), "error"), "message");
  const ErrorCode code = code_of_status(status);
  if (status == 401) {
    return {code, fmt::format("the service at {} refuses this key: name the right one with "
                              "--key-file, or the service's "
                              "data directory with --data",
                              address.url)};
  }
  if (!message.empty()) return {code, std::move(message)};
  return {code, fmt::format("the service at {} answered with HTTP status {}", address.url, status)};
}

Error error_of_connection(const ServiceAddress& address, httplib::Error error) {
  if (error == httplib::Error::Connection || error == httplib::Error::ConnectionTimeout) {
    return {ErrorCode::kUnavailable,
            fmt::format("no service at {}: start one with `tunefleet up`, or name it with --url",
                        address.url)};
  }
  return {ErrorCode::kUnavailable,
          fmt::format("the connection to {} broke: {}", address.url, httplib::to_string(error))};
}

/// While it lives, a service that closes the connection under us is an error of the call and not
/// the end of this process; SIGPIPE keeps its meaning for stdout (`tunefleet jobs | head`).
class BrokenPipeGuard {
 public:
  BrokenPipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~BrokenPipeGuard() {
    const timespec at_once{};
    while (sigtimedwait(&pipe_, nullptr, &at_once) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  BrokenPipeGuard(const BrokenPipeGuard&) = delete;
  BrokenPipeGuard& operator=(const BrokenPipeGuard&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
};

std::string random_boundary() {
  std::random_device random;
  return fmt::format("tunefleet-{:08x}{:08x}{:08x}", random(), random(), random());
}

/// A file name as it may stand between quotes in a header.
std::string quoted_file_name(const std::filesystem::path& file) {
  std::string name;
  for (const char c : file.filename().string()) {
    name += c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 ? '_' : c;
  }
  return name;
}

/// The form around an uploaded file, and the file itself read piece by piece. Source: RFC 7578.
class UploadBody {
 public:
  UploadBody(const std::filesystem::path& file, uint64_t file_size)
      : boundary_(random_boundary()), input_(file, std::ios::binary), file_size_(file_size) {
    head_ = fmt::format(
        "--{0}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
        "--{0}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{1}\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n",
        boundary_, quoted_file_name(file));
    tail_ = fmt::format("\r\n--{}--\r\n", boundary_);
  }

  uint64_t size() const { return head_.size() + file_size_ + tail_.size(); }
  std::string content_type() const { return "multipart/form-data; boundary=" + boundary_; }

  /// Writes what stands at `offset`; false when the file became shorter meanwhile.
  bool write(uint64_t offset, httplib::DataSink& sink) {
    if (offset < head_.size()) return sink.write(head_.data() + offset, head_.size() - offset);
    const uint64_t in_file = offset - head_.size();
    if (in_file >= file_size_) {
      const uint64_t in_tail = in_file - file_size_;
      return sink.write(tail_.data() + in_tail, tail_.size() - in_tail);
    }
    piece_.resize(std::min<uint64_t>(kUploadPiece, file_size_ - in_file));
    input_.seekg(static_cast<std::streamoff>(in_file));
    input_.read(piece_.data(), static_cast<std::streamsize>(piece_.size()));
    return input_.gcount() == static_cast<std::streamsize>(piece_.size()) &&
           sink.write(piece_.data(), piece_.size());
  }

 private:
  std::string boundary_;
  std::ifstream input_;
  uint64_t file_size_;
  std::string head_;
  std::string tail_;
  std::string piece_;
};

}  // namespace

struct ApiClient::Http {
  explicit Http(const ServiceAddress& address) : client(address.url) {
    client.set_connection_timeout(kConnectTimeout);
    client.set_read_timeout(kAnswerTimeout);
    client.set_write_timeout(kAnswerTimeout);
    client.set_keep_alive(true);
    client.set_tcp_nodelay(true);
    client.set_default_headers(
        {{"Authorization", "Bearer " + address.key}, {"User-Agent", "tunefleet"}});
  }

  /// Sends a request that a stream of events answers.
  Status follow(httplib::Request request, const ServiceAddress& address,
                const EventHandler& on_event);

  httplib::Client client;
  std::atomic<bool> stopped = false;
};

Status ApiClient::Http::follow(httplib::Request request, const ServiceAddress& address,
                               const EventHandler& on_event) {
  if (stopped) return fail(ErrorCode::kCancelled, "stopped");
  const BrokenPipeGuard guard;
  bool wanted_end = false;
  int status = 0;
  std::string refusal;
  EventStreamReader reader([&](const std::string& data) {
    wanted_end = !on_event(data);
    return !wanted_end;
  });
  request.set_header("Accept", "text/event-stream");
  request.response_handler = [&](const httplib::Response& response) {
    status = response.status;
    return true;
  };
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    if (stopped) return false;
    if (status == 200) return reader.feed({data, size});
    refusal.append(data, std::min<size_t>(size, kUploadPiece));
    return refusal.size() < kUploadPiece;
  };
  const auto answer = client.send(request);
  if (stopped) return fail(ErrorCode::kCancelled, "stopped");
  if (wanted_end) return {};
  if (status != 0 && status != 200) return fail(error_of_answer(address, status, refusal));
  if (!answer) return fail(error_of_connection(address, answer.error()));
  return {};
}

ApiClient::ApiClient(ServiceAddress address)
    : address_(std::move(address)), http_(std::make_unique<Http>(address_)) {}

ApiClient::~ApiClient() = default;

namespace {

Result<json> read_answer(const ServiceAddress& address, const httplib::Result& answer) {
  if (!answer) return fail(error_of_connection(address, answer.error()));
  if (answer->status != 200) return fail(error_of_answer(address, answer->status, answer->body));
  json body = json::parse(answer->body, nullptr, false);
  if (!body.is_discarded()) return body;
  return fail(ErrorCode::kUnavailable,
              fmt::format("what answers at {} is not a tunefleet service", address.url));
}

}  // namespace

Result<json> ApiClient::get(const std::string& path) {
  const BrokenPipeGuard guard;
  return read_answer(address_, http_->client.Get(path));
}

Result<json> ApiClient::post(const std::string& path, const json& body,
                             const std::string& idempotency_key) {
  const BrokenPipeGuard guard;
  httplib::Headers headers;
  if (!idempotency_key.empty()) headers.emplace("Idempotency-Key", idempotency_key);
  for (int retries = idempotency_key.empty() ? 0 : kRetries;; --retries) {
    auto answer =
        read_answer(address_, http_->client.Post(path, headers, to_line(body), "application/json"));
    if (answer || retries == 0 || answer.error().code != ErrorCode::kUnavailable) return answer;
    std::this_thread::sleep_for(kRetryPause);
  }
}

Result<json> ApiClient::remove(const std::string& path) {
  const BrokenPipeGuard guard;
  return read_answer(address_, http_->client.Delete(path));
}

Result<json> ApiClient::upload(const std::filesystem::path& file, const UploadProgress& progress) {
  std::error_code error;
  const uint64_t file_size = std::filesystem::file_size(file, error);
  if (error) {
    return fail(ErrorCode::kNotFound,
                fmt::format("data set cannot be read: {}: {}", file.string(), error.message()));
  }
  const BrokenPipeGuard guard;
  UploadBody body(file, file_size);
  const auto provider = [&](size_t offset, size_t, httplib::DataSink& sink) {
    if (progress) progress(offset, body.size());
    return body.write(offset, sink);
  };
  auto answer = read_answer(
      address_, http_->client.Post("/v1/files", {}, body.size(), httplib::ContentProvider(provider),
                                   body.content_type()));
  if (!answer) return fail(fmt::format("uploading {}", file.string()), answer.error());
  if (progress) progress(body.size(), body.size());
  return answer;
}

Result<TextPiece> ApiClient::get_text(const std::string& path) {
  const BrokenPipeGuard guard;
  const auto answer = http_->client.Get(path);
  if (!answer) return fail(error_of_connection(address_, answer.error()));
  if (answer->status != 200) return fail(error_of_answer(address_, answer->status, answer->body));
  TextPiece piece{.text = answer->body};
  const std::string next = answer->get_header_value("x-next-offset");
  piece.next_offset = std::strtoll(next.c_str(), nullptr, 10);
  return piece;
}

Status ApiClient::follow(const std::string& path, const EventHandler& on_event) {
  httplib::Request request;
  request.method = "GET";
  request.path = path;
  return http_->follow(std::move(request), address_, on_event);
}

Status ApiClient::post_and_follow(const std::string& path, const json& body,
                                  const EventHandler& on_event) {
  httplib::Request request;
  request.method = "POST";
  request.path = path;
  request.body = to_line(body);
  request.set_header("Content-Type", "application/json");
  http_->client.set_read_timeout(kFirstEventTimeout);
  auto followed = http_->follow(std::move(request), address_, on_event);
  http_->client.set_read_timeout(kAnswerTimeout);
  return followed;
}

void ApiClient::stop() {
  http_->stopped = true;
  http_->client.stop();
}

std::string escaped_segment(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~' || c == ':';
    escaped += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return escaped;
}

}  // namespace tunefleet::coordinator
