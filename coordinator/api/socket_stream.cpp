#include "coordinator/api/socket_stream.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSlice{50};  // How soon a waiting connection sees that we stop.
constexpr milliseconds kLinger{2'000};
constexpr size_t kLingerBytes = 64 << 20;

/// True when `events` (or an error) are there within `timeout`.
bool poll_for(socket_t socket, short events, milliseconds timeout) {
  pollfd entry{.fd = socket, .events = events, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    const int ready = ::poll(&entry, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready >= 0) return ready > 0;
    if (errno != EINTR) return false;
  }
}

void address_text(const sockaddr_storage& address, std::string& ip, int& port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof(v6));
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    port = ntohs(v6.sin6_port);
  }
  ip = text.data();
}

}  // namespace

SocketStream::SocketStream(socket_t socket, const StreamLimits& limits,
                           const std::atomic<bool>& stopping, std::function<bool()> crowded)
    : socket_(socket), limits_(limits), stopping_(stopping), crowded_(std::move(crowded)) {}

bool SocketStream::wait_for_request() {
  part_ = Part::kIdle;
  kept_.reset();
  const auto begun = Clock::now();
  while (begin_ == end_) {
    if (stopping_ || Clock::now() - begun >= unless_crowded(limits_.idle)) return false;
    if (poll_for(socket_, POLLIN, kSlice)) break;
  }
  part_ = Part::kHeaders;
  part_began_ = Clock::now();
  part_bytes_ = 0;
  return begin_ != end_ || fill();
}

void SocketStream::begin_body() {
  part_ = Part::kBody;
  part_began_ = Clock::now();
  part_bytes_ = 0;
}

void SocketStream::linger() {
  ::shutdown(socket_, SHUT_WR);
  const auto deadline = Clock::now() + kLinger;
  size_t drained = 0;
  while (drained < kLingerBytes && Clock::now() < deadline && !stopping_) {
    if (!poll_for(socket_, POLLIN, kSlice)) continue;
    const ssize_t n = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (n <= 0) return;
    drained += static_cast<size_t>(n);
  }
}

bool SocketStream::is_readable() const {
  return begin_ != end_ || poll_for(socket_, POLLIN, read_budget());
}

bool SocketStream::is_writable() const {
  pollfd entry{.fd = socket_, .events = POLLOUT | POLLRDHUP, .revents = 0};
  if (::poll(&entry, 1, 0) < 0) return false;
  if (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) return false;
  return (entry.revents & POLLOUT) != 0 || poll_for(socket_, POLLOUT, limits_.piece);
}

ssize_t SocketStream::read(char* data, size_t size) {
  if (part_ == Part::kHeaders && part_bytes_ >= limits_.header_bytes) {
    headers_too_long_ = true;
    return -1;
  }
  if (begin_ == end_ && !fill()) return timed_out_ ? -1 : 0;
  const size_t n = std::min(size, end_ - begin_);
  if (part_ == Part::kHeaders && !check_headers({buffer_.data() + begin_, n})) return -1;
  std::memcpy(data, buffer_.data() + begin_, n);
  begin_ += n;
  part_bytes_ += n;
  return static_cast<ssize_t>(n);
}

ssize_t SocketStream::write(const char* data, size_t size) {
  size_t sent = 0;
  while (sent < size) {
    if (!poll_for(socket_, POLLOUT, limits_.piece)) return -1;
    const ssize_t n = ::send(socket_, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return -1;
    sent += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(size);
}

void SocketStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    address_text(address, ip, port);
  }
}

void SocketStream::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    address_text(address, ip, port);
  }
}

bool SocketStream::fill() {
  if (!wait_readable()) {
    timed_out_ = true;
    return false;
  }
  const ssize_t n = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  if (n <= 0) return false;
  begin_ = 0;
  end_ = static_cast<size_t>(n);
  return true;
}

/// In slices: the server may become crowded meanwhile.
bool SocketStream::wait_readable() const {
  for (;;) {
    const milliseconds budget = read_budget();
    const milliseconds slice = part_ == Part::kHeaders ? std::min(budget, kSlice) : budget;
    if (poll_for(socket_, POLLIN, slice)) return true;
    if (slice == budget) return false;
  }
}

milliseconds SocketStream::unless_crowded(milliseconds limit) const {
  return crowded_() ? std::min(limit, limits_.crowded) : limit;
}

bool SocketStream::check_headers(std::string_view piece) {
  for (const char c : piece) {
    const bool bare_line_feed = c == '\n' && last_of_headers_ != '\r';
    const bool folded = (c == ' ' || c == '\t') && last_of_headers_ == '\n';
    if (c == '\0' || bare_line_feed || folded) headers_malformed_ = true;
    last_of_headers_ = c;
  }
  return !headers_malformed_;
}

milliseconds SocketStream::read_budget() const {
  const auto spent = std::chrono::duration_cast<milliseconds>(Clock::now() - part_began_);
  if (part_ == Part::kHeaders) {
    return std::max(unless_crowded(limits_.headers) - spent, milliseconds(0));
  }
  const milliseconds earned(static_cast<int64_t>(part_bytes_ / limits_.body_bytes_per_ms));
  return std::clamp(limits_.body_start + earned - spent, milliseconds(0), limits_.piece);
}

}  // namespace tunefleet::coordinator
