#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/client/api_client.h"

namespace tunefleet::coordinator {

/// Follows a job's events on a thread of its own; when the connection is lost it connects again and
/// goes on after the last event it has. The destructor ends the thread.
class EventFollower {
 public:
  EventFollower(const ServiceAddress& address, const std::string& job);
  ~EventFollower();
  EventFollower(const EventFollower&) = delete;
  EventFollower& operator=(const EventFollower&) = delete;

  struct News {
    std::vector<nlohmann::json> events;  ///< In order, each once.
    bool ended = false;                  ///< The job is final and every event was handed out.
    std::optional<Error> trouble;        ///< Why there is no connection just now.
  };
  /// What came since the last call; waits up to `limit` for something.
  News take(std::chrono::milliseconds limit);

 private:
  void run();
  Status follow_once();
  void accept(const std::string& data);
  bool pause(std::chrono::milliseconds time);

  ApiClient client_;
  const std::string job_;
  std::string last_id_;  ///< Of the thread.

  std::mutex mutex_;
  std::condition_variable changed_;
  News news_;
  bool stopping_ = false;
  std::thread thread_;  // Last: it uses the others.
};

}  // namespace tunefleet::coordinator
