#pragma once

#include <httplib.h>

#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tunefleet::coordinator {

/// A user's server: remembers what was posted to it, and answers what the test says.
class Receiver {
 public:
  /// The status to answer to the n-th request (from 1).
  explicit Receiver(
      std::function<int(int)> status = [](int) { return 200; },
      const std::string& host = "127.0.0.1")
      : status_(std::move(status)) {
    server_.Post(".*", [this](const httplib::Request& request, httplib::Response& response) {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
      response.status = status_(static_cast<int>(requests_.size()));
      if (response.status == 302) response.set_header("Location", "/elsewhere");
      response.set_content(reply_, "text/plain");
    });
    port_ = server_.bind_to_any_port(host);
    if (port_ < 0) throw std::runtime_error("no port for the receiver on " + host);
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~Receiver() {
    server_.stop();
    thread_.join();
  }

  int port() const { return port_; }
  std::string url(const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(port_) + "/hook?key=1";
  }
  std::vector<httplib::Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  /// Answers with so many bytes from now on.
  void answer_with(size_t bytes) {
    const std::lock_guard lock(mutex_);
    reply_.assign(bytes, 'x');
  }

 private:
  std::function<int(int)> status_;
  httplib::Server server_;
  mutable std::mutex mutex_;
  std::vector<httplib::Request> requests_;
  std::string reply_ = "fine";
  int port_ = 0;
  std::thread thread_;
};

}  // namespace tunefleet::coordinator
