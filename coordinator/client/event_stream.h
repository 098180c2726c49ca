#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace tunefleet::coordinator {

/// Cuts server-sent events out of pieces of a stream, wherever the pieces end. Of each event only
/// the data counts; comments (": ping") are dropped. Source: the WHATWG's "Server-sent events",
/// section 9.2.6.
class EventStreamReader {
 public:
  /// Called with each event's data; returns false to stop.
  using OnData = std::function<bool(const std::string& data)>;
  explicit EventStreamReader(OnData on_data) : on_data_(std::move(on_data)) {}

  /// False when on_data wanted to stop, or a line is longer than any event of ours.
  bool feed(std::string_view piece);

 private:
  bool take_line(std::string_view line);

  OnData on_data_;
  std::string line_;
  std::string data_;
  bool has_data_ = false;
};

}  // namespace tunefleet::coordinator
