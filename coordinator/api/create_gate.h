#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

namespace tunefleet::coordinator {

/// Lets equal requests through one at a time: a client that repeats a request whose first copy is
/// still being worked on finds what that one made. Any thread.
class CreateGate {
 public:
  /// Holds `key` until it is destroyed.
  class Pass {
   public:
    Pass(CreateGate& gate, std::string key);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    CreateGate& gate_;
    std::string key_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  std::set<std::string> inside_;
};

}  // namespace tunefleet::coordinator
