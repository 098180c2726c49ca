#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace tunefleet::coordinator {

// Names of the keys of redis.md. Scripts that every job passes through name their indexes
// themselves.

inline constexpr char kCreatedKey[] = "tf:created";
inline constexpr char kQueuedKey[] = "tf:queued";
inline constexpr char kRunningKey[] = "tf:running";
inline constexpr char kLeaderKey[] = "tf:leader";
inline constexpr char kRequeuedKey[] = "tf:requeued";
inline constexpr char kRequeuesKey[] = "tf:requeues";
inline constexpr char kAgesKey[] = "tf:ages";
inline constexpr char kEarlierFormKey[] = "tf:sequence";  ///< What tf:ages was called there.

inline std::string job_key(const std::string& id, std::string_view part) {
  return fmt::format("tf:{{{}}}:{}", id, part);
}
inline std::string owner_key(const std::string& owner, std::string_view part) {
  return fmt::format("tf:{{owner:{}}}:{}", owner, part);
}
inline std::string group_key(const std::string& group) {
  return fmt::format("tf:{{group:{}}}:jobs", group);
}

}  // namespace tunefleet::coordinator
