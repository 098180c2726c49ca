#pragma once

#include <cstdio>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tunefleet::coordinator {

/// How a watched job is shown.
class WatchView {
 public:
  virtual ~WatchView() = default;
  /// An event of the API, in order.
  virtual void show_event(const nlohmann::json& event) = 0;
  /// The job as it is now, about once a second.
  virtual void show_job(const nlohmann::json& job) = 0;
  /// The connection is gone for now.
  virtual void show_trouble(const std::string& message) = 0;
  /// The job is final; nothing comes after it.
  virtual void show_end(const nlohmann::json& job) = 0;
  /// Takes a live line off the screen, so that others can write.
  virtual void leave() {}
};

/// Events as lines above a bar that moves; for a terminal.
std::unique_ptr<WatchView> make_terminal_view(std::FILE* out);
/// One line for each event and for each change of a waiting job's place; for files and pipes.
std::unique_ptr<WatchView> make_plain_view(std::FILE* out);
/// JSON lines: the API's events and, when it changed, its job object ("object" tells which); the
/// last is the final job.
std::unique_ptr<WatchView> make_json_view(std::FILE* out);

/// "12:00:03 step 5/200 …": an event as one line.
std::string event_line(const nlohmann::json& event);
/// What came out of a final job, several lines: losses before and after, checkpoint, or what failed
/// and where to look.
std::string end_text(const nlohmann::json& job);

}  // namespace tunefleet::coordinator
