#include "coordinator/outbound/outbound_post.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

namespace tunefleet::coordinator {
namespace {

constexpr size_t kMaxReply = 64 * 1024;
constexpr long kConnectLimitMs = 5'000;
constexpr const char* kUserAgent = "tunefleet-webhooks/1";

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, FreeList>;

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using Handle = std::unique_ptr<CURL, FreeHandle>;

void add(List& list, const std::string& text) {
  curl_slist* longer = curl_slist_append(list.get(), text.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  list.release();
  list.reset(longer);
}

/// What the callbacks of one call share.
struct Call {
  const OutboundTarget& target;
  const OutboundPost& post;
  size_t received = 0;
  bool enough = false;   ///< The reply was longer than we read.
  bool refused = false;  ///< A connection to an address that was not admitted.
};

/// The last gate: whatever libcurl makes of the URL, a socket opens to an admitted address or not
/// at all.
curl_socket_t open_socket(void* data, curlsocktype, curl_sockaddr* to) {
  auto& call = *static_cast<Call*>(data);
  const auto address = IpAddress::from_sockaddr(&to->addr);
  const auto& admitted = call.target.addresses;
  if (!address || std::find(admitted.begin(), admitted.end(), *address) == admitted.end()) {
    call.refused = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

size_t take_reply(char*, size_t size, size_t count, void* data) {
  auto& call = *static_cast<Call*>(data);
  call.received += size * count;
  call.enough = call.received > kMaxReply;
  return call.enough ? 0 : size * count;
}

int go_on(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& cancelled = static_cast<Call*>(data)->post.cancelled;
  return cancelled && cancelled() ? 1 : 0;
}

/// "host:port:address,address": the only answer libcurl gets for the name.
std::string pinned(const OutboundTarget& target) {
  std::string text = fmt::format("{}:{}:", target.url.host, target.url.port);
  for (size_t i = 0; i < target.addresses.size(); ++i) {
    const auto& address = target.addresses[i];
    text += fmt::format("{}{}{}{}", i == 0 ? "" : ",", address.is_v4() ? "" : "[", address.text(),
                        address.is_v4() ? "" : "]");
  }
  return text;
}

template <typename T>
void set(const Handle& handle, CURLoption option, T value) {
  const CURLcode code = curl_easy_setopt(handle.get(), option, value);
  if (code != CURLE_OK) {
    throw std::runtime_error(fmt::format("libcurl does not take an option: {}: {}",
                                         static_cast<int>(option), curl_easy_strerror(code)));
  }
}

void restrict_to_target(const Handle& handle, Call& call, const List& resolved) {
  set(handle, CURLOPT_PROTOCOLS_STR, call.target.url.https ? "https" : "http");
  set(handle, CURLOPT_FOLLOWLOCATION, 0L);
  set(handle, CURLOPT_PROXY, "");  // Not the environment's.
  set(handle, CURLOPT_NOPROXY, "*");
  set(handle, CURLOPT_OPENSOCKETFUNCTION, &open_socket);
  set(handle, CURLOPT_OPENSOCKETDATA, static_cast<void*>(&call));
  if (resolved) set(handle, CURLOPT_RESOLVE, resolved.get());
}

void set_request(const Handle& handle, Call& call, const List& headers) {
  set(handle, CURLOPT_URL, call.target.url.text().c_str());  // libcurl copies it.
  set(handle, CURLOPT_PATH_AS_IS, 1L);
  set(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(handle, CURLOPT_USERAGENT, kUserAgent);
  set(handle, CURLOPT_HTTPHEADER, headers.get());
  set(handle, CURLOPT_POST, 1L);
  set(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.post.body.size()));
  set(handle, CURLOPT_POSTFIELDS, call.post.body.c_str());
  set(handle, CURLOPT_WRITEFUNCTION, &take_reply);
  set(handle, CURLOPT_WRITEDATA, static_cast<void*>(&call));
  set(handle, CURLOPT_NOPROGRESS, 0L);
  set(handle, CURLOPT_XFERINFOFUNCTION, &go_on);
  set(handle, CURLOPT_XFERINFODATA, static_cast<void*>(&call));
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_CONNECTTIMEOUT_MS, kConnectLimitMs);
  set(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(call.post.timeout.count()));
}

Result<int> outcome(const Handle& handle, CURLcode code, const Call& call) {
  const std::string origin = call.target.url.origin();
  if (call.refused) {
    return fail(ErrorCode::kPermissionDenied,
                "a connection to an address that was not admitted was refused: " + origin);
  }
  if (code == CURLE_ABORTED_BY_CALLBACK) {
    return fail(ErrorCode::kCancelled, "the call was cut short: " + origin);
  }
  long status = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK || (call.enough && status != 0)) return static_cast<int>(status);
  return fail(code == CURLE_OPERATION_TIMEDOUT ? ErrorCode::kTimeout : ErrorCode::kUnavailable,
              fmt::format("no reply from {}: {}", origin, curl_easy_strerror(code)));
}

}  // namespace

Result<int> post_outbound(const OutboundTarget& target, const OutboundPost& post) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const Handle handle(ready == CURLE_OK ? curl_easy_init() : nullptr);
  if (!handle) return fail(ErrorCode::kInternal, "libcurl cannot be started");
  Call call{.target = target, .post = post};
  List headers;
  for (const auto& [name, value] : post.headers) add(headers, fmt::format("{}: {}", name, value));
  add(headers, "Expect:");  // No waiting for a 100.
  List resolved;
  if (!IpAddress::parse(target.url.host)) add(resolved, pinned(target));
  restrict_to_target(handle, call, resolved);
  set_request(handle, call, headers);
  return outcome(handle, curl_easy_perform(handle.get()), call);
}

}  // namespace tunefleet::coordinator
