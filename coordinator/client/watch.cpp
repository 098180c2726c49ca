#include "coordinator/client/watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>

#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/event_follower.h"
#include "coordinator/client/json_fields.h"

namespace tunefleet::coordinator {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kLook{200};
constexpr milliseconds kPoll{1000};
constexpr std::chrono::minutes kPatience{2};

volatile std::sig_atomic_t interrupted = 0;

/// Notes Ctrl-C while it lives; the former handler comes back with its end.
class InterruptWatch {
 public:
  InterruptWatch() {
    interrupted = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptWatch() { sigaction(SIGINT, &before_, nullptr); }
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

 private:
  struct sigaction before_ {};
};

int exit_code_of(const std::string& status) {
  if (status == "succeeded") return kExitOk;
  return status == "cancelled" ? kExitCancelled : kExitFailed;
}

bool is_final(const std::string& status) {
  return status == "succeeded" || status == "failed" || status == "cancelled";
}

bool may_pass(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimeout ||
         error.code == ErrorCode::kInternal;
}

/// One watched job: events come from the follower's thread, the job itself is asked for every
/// second.
class Watch {
 public:
  Watch(ApiClient& client, std::string job, WatchView& view)
      : client_(client), job_(std::move(job)), view_(view), follower_(client.address(), job_) {}

  int run() {
    const InterruptWatch interrupt;
    for (;;) {
      if (interrupted != 0) return say_interrupted();
      const auto news = follower_.take(kLook);
      for (const auto& event : news.events) view_.show_event(event);
      if (!news.ended && Clock::now() < next_poll_) continue;
      next_poll_ = Clock::now() + kPoll;
      const auto shown = client_.get("/v1/fine_tuning/jobs/" + escaped_segment(job_));
      if (!shown) {
        if (const auto code = give_up(shown.error())) return *code;
        continue;
      }
      answered_ = Clock::now();
      const std::string status = text_at(*shown, "status");
      if (is_final(status) && (news.ended || waited_for_last_events())) {
        view_.show_end(*shown);
        return exit_code_of(status);
      }
      if (!is_final(status)) view_.show_job(*shown);
    }
  }

 private:
  /// The last events follow the final state within moments; a stream that is broken does not hold
  /// up the end.
  bool waited_for_last_events() {
    if (!final_since_) final_since_ = Clock::now();
    return Clock::now() - *final_since_ > milliseconds(5000);
  }

  std::optional<int> give_up(const Error& error) {
    if (may_pass(error) && Clock::now() - answered_ < kPatience) {
      view_.show_trouble(error.message);
      return std::nullopt;
    }
    view_.leave();
    return report(error);
  }

  int say_interrupted() {
    view_.leave();
    fmt::print(stderr,
               "stopped watching, the job goes on; watch it again: tunefleet watch {0}, stop it: "
               "tunefleet cancel {0}\n",
               job_);
    return kExitInterrupted;
  }

  ApiClient& client_;
  const std::string job_;
  WatchView& view_;
  EventFollower follower_;
  Clock::time_point next_poll_ = Clock::now();
  Clock::time_point answered_ = Clock::now();
  std::optional<Clock::time_point> final_since_;
};

}  // namespace

int watch_job(ApiClient& client, const std::string& job, WatchView& view) {
  // The first question is asked without patience: a wrong id, key or address is told at once.
  const auto shown = client.get("/v1/fine_tuning/jobs/" + escaped_segment(job));
  if (!shown) return report(shown.error());
  return Watch(client, job, view).run();
}

std::unique_ptr<WatchView> make_view_of_stdout(bool json) {
  if (json) return make_json_view(stdout);
  return isatty(STDOUT_FILENO) != 0 ? make_terminal_view(stdout) : make_plain_view(stdout);
}

}  // namespace tunefleet::coordinator
