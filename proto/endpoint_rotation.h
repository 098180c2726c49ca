#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tunefleet {

/// Which of several coordinators to talk to: the next one after some time without a connection,
/// since one that does not lead has its endpoint closed. A value; times are milliseconds of any
/// clock that only goes forward.
class EndpointRotation {
 public:
  static constexpr int64_t kPatienceMs = 5'000;

  /// `endpoints`: "tcp://a:1" or "tcp://a:1,tcp://b:2"; what is named twice counts once.
  explicit EndpointRotation(const std::string& endpoints, int64_t patience_ms = kPatienceMs);

  const std::vector<std::string>& all() const { return endpoints_; }
  const std::string& current() const { return endpoints_[at_]; }
  /// To be told how it stands, often. True when current() is another one now.
  bool moves_on(bool connected, int64_t now_ms);

 private:
  std::vector<std::string> endpoints_;
  int64_t patience_ms_;
  size_t at_ = 0;
  std::optional<int64_t> silent_since_ms_{};  ///< Nothing: connected, or not asked yet.
};

}  // namespace tunefleet
