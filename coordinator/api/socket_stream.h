#pragma once

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "coordinator/api/http_server.h"

namespace tunefleet::coordinator {

/// The server's side of one connection, with deadlines for each part of a request. Belongs to one
/// thread.
///   idle --wait_for_request--> headers --begin_body--> body --end_request--> idle
class SocketStream : public httplib::Stream {
 public:
  /// Does not own `socket`. `stopping` ends the wait for a next request; `crowded` tells whether
  /// every connection is taken.
  SocketStream(socket_t socket, const StreamLimits& limits, const std::atomic<bool>& stopping,
               std::function<bool()> crowded);

  /// Waits for the first byte of a request. False: the client has gone, was idle too long, or we
  /// stop.
  bool wait_for_request();
  /// The headers are in: from here on the limits of a body count.
  void begin_body();
  /// Reads what is left of an unwanted body for a moment, so that closing does not reset the
  /// connection before the client has read our reply.
  void linger();

  /// Keeps `thing` until the next request begins or the connection ends.
  void keep_for_reply(std::shared_ptr<void> thing) { kept_ = std::move(thing); }
  void close_after_reply() { close_after_reply_ = true; }
  bool closes_after_reply() const { return close_after_reply_; }
  bool timed_out() const { return timed_out_; }
  bool headers_too_long() const { return headers_too_long_; }
  /// A NUL, a line that ends without a carriage return, or one that goes on in the next: servers
  /// disagree about such headers. Source: RFC 9112, sections 2.2 and 5.2.
  bool headers_malformed() const { return headers_malformed_; }

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Part { kIdle, kHeaders, kBody };

  bool fill();
  bool wait_readable() const;
  std::chrono::milliseconds unless_crowded(std::chrono::milliseconds limit) const;
  bool check_headers(std::string_view piece);
  std::chrono::milliseconds read_budget() const;

  socket_t socket_;
  StreamLimits limits_;
  const std::atomic<bool>& stopping_;
  std::function<bool()> crowded_;
  Part part_ = Part::kIdle;
  Clock::time_point part_began_;
  size_t part_bytes_ = 0;  ///< Consumed since part_began_.
  std::array<char, 16 * 1024> buffer_{};
  size_t begin_ = 0;
  size_t end_ = 0;
  bool close_after_reply_ = false;
  bool timed_out_ = false;
  bool headers_too_long_ = false;
  bool headers_malformed_ = false;
  char last_of_headers_ = '\0';
  std::shared_ptr<void> kept_;
};

}  // namespace tunefleet::coordinator
