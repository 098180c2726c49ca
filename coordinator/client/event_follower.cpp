#include "coordinator/client/event_follower.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/client/json_fields.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{250};
constexpr milliseconds kLongestPause{4000};

}  // namespace

EventFollower::EventFollower(const ServiceAddress& address, const std::string& job)
    : client_(address), job_(job), thread_([this] { run(); }) {}

EventFollower::~EventFollower() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  client_.stop();
  thread_.join();
}

EventFollower::News EventFollower::take(milliseconds limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [&] { return !news_.events.empty() || news_.ended || stopping_; });
  News news = news_;
  news_.events.clear();
  return news;
}

void EventFollower::run() {
  milliseconds wait = kFirstPause;
  for (;;) {
    const std::string before = last_id_;
    const auto followed = follow_once();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ || news_.ended) return;
      if (!followed) news_.trouble = followed.error();
    }
    wait = last_id_ == before ? std::min(wait * 2, kLongestPause) : kFirstPause;
    if (!pause(wait)) return;
  }
}

Status EventFollower::follow_once() {
  std::string path =
      fmt::format("/v1/fine_tuning/jobs/{}/events?stream=true", escaped_segment(job_));
  if (!last_id_.empty()) path += "&after=" + escaped_segment(last_id_);
  return client_.follow(path, [&](const std::string& data) {
    accept(data);
    const std::lock_guard lock(mutex_);
    return !news_.ended && !stopping_;
  });
}

void EventFollower::accept(const std::string& data) {
  auto event = nlohmann::json::parse(data, nullptr, false);
  const std::string id = text_at(event, "id");
  {
    const std::lock_guard lock(mutex_);
    if (data == "[DONE]") {
      news_.ended = true;
    } else if (event.is_object() && event.contains("error")) {
      news_.trouble = Error{ErrorCode::kUnavailable, text_at(field_at(event, "error"), "message")};
      return;
    } else if (!id.empty()) {
      last_id_ = id;
      news_.events.push_back(std::move(event));
    }
    news_.trouble.reset();
  }
  changed_.notify_all();
}

bool EventFollower::pause(milliseconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [&] { return stopping_; });
}

}  // namespace tunefleet::coordinator
