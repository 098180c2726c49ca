#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>

#include "coordinator/api/http.h"

namespace tunefleet::coordinator {

/// How long a request that was sent again gives what its first copy made.
inline constexpr int64_t kRetryWindow_ms = 10 * 60 * 1000;

/// Whether the client says that it sends the request again, as OpenAI's clients do.
bool is_retry(const HttpRequest& request);

/// Lets equal requests through one at a time: a client that repeats a request whose first copy is
/// still being worked on finds what that one made. Any thread.
class CreateGate {
 public:
  /// Holds `key` until it is destroyed, when it got it within half a minute.
  class Pass {
   public:
    Pass(CreateGate& gate, std::string key);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    bool entered() const { return entered_; }

   private:
    CreateGate& gate_;
    std::string key_;
    bool entered_ = false;
  };

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  std::set<std::string> inside_;
};

}  // namespace tunefleet::coordinator
