#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "coordinator/client/service_address.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// A piece of a text that grows, such as a log.
struct TextPiece {
  std::string text;
  int64_t next_offset = 0;  ///< Where to go on.
};

/// Bytes sent, bytes in all.
using UploadProgress = std::function<void(uint64_t sent, uint64_t total)>;
/// Called with the data of each event, "[DONE]" included; returns false to stop.
using EventHandler = std::function<bool(const std::string& data)>;

/// Speaks HTTP to one service. Every wait is bounded. Errors: kUnavailable and kTimeout (nobody
/// answers; the message says how to start or name a service), kPermissionDenied (key refused, or it
/// may not do this), and what the service says: kNotFound, kInvalidArgument, kConflict. One thread
/// at a time, but for stop().
class ApiClient {
 public:
  explicit ApiClient(ServiceAddress address);
  ~ApiClient();
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;

  const ServiceAddress& address() const { return address_; }

  Result<nlohmann::json> get(const std::string& path);
  /// Sends `body`; with a key of its own the same call is made again up to twice when the service
  /// does not answer, and counts once.
  Result<nlohmann::json> post(const std::string& path, const nlohmann::json& body,
                              const std::string& idempotency_key = {});
  Result<nlohmann::json> remove(const std::string& path);
  /// Uploads a data set as OpenAI's client does, straight from the disk.
  Result<nlohmann::json> upload(const std::filesystem::path& file, const UploadProgress& progress);
  /// A part of a job's log; see api.md.
  Result<TextPiece> get_text(const std::string& path);
  /// Follows a stream of events until it ends, the handler stops it, or nothing has come for half a
  /// minute.
  Status follow(const std::string& path, const EventHandler& on_event);
  /// Sends `body` and follows the stream that answers it, likewise; its first event may take ten
  /// minutes.
  Status post_and_follow(const std::string& path, const nlohmann::json& body,
                         const EventHandler& on_event);
  /// Ends a call of follow(), which then returns kCancelled, as every later call does. From any
  /// thread.
  void stop();

 private:
  struct Http;

  ServiceAddress address_;
  std::unique_ptr<Http> http_;
};

/// `text` as one segment of a path.
std::string escaped_segment(const std::string& text);

}  // namespace tunefleet::coordinator
