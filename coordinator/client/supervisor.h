#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/client/child_process.h"
#include "coordinator/client/coordinator_service.h"
#include "coordinator/client/data_lock.h"
#include "coordinator/client/private_redis.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

struct UpOptions {
  CoordinatorOptions coordinator;  ///< `redis` empty: a private one.
  int slots = 2;
};

/// A whole service on this machine: redis-server and tunefleet-agent as children, the coordinator
/// in this process. Belongs to the thread that made it, which must be the main one. Destroyed,
/// nothing of it is left running.
class Supervisor {
 public:
  /// Starts everything, in the order Redis, coordinator, agent. The error says what is missing.
  static Result<std::unique_ptr<Supervisor>> start(const UpOptions& options);
  ~Supervisor();

  /// What was started, for people: URL, key, models, slots, and how to go on.
  std::string summary() const;
  /// Starts again what died, with a growing pause, until a stop signal comes.
  void run();
  /// Agent first (it stops its ranks), Redis last. A second stop signal ends the waiting.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;

  /// A child and when it may be started again.
  struct Watched {
    ChildProcess* process;
    std::function<Status()> start;
    Clock::time_point started{};
    Clock::time_point restart_at{};
    std::chrono::milliseconds pause{};
  };

  explicit Supervisor(const UpOptions& options) : options_(options) {}
  Status open();
  Status start_agent(const std::filesystem::path& program);
  Status wait_for_agent();
  void watch(Watched& child);
  void end_child(ChildProcess& child, std::chrono::milliseconds limit);

  UpOptions options_;
  std::chrono::milliseconds start_time_{};
  std::unique_ptr<DataLock> lock_;
  std::unique_ptr<PrivateRedis> redis_;
  std::unique_ptr<CoordinatorService> coordinator_;
  std::unique_ptr<ChildProcess> agent_;
  std::vector<Watched> watched_;
  bool hurry_ = false;  ///< A second stop signal came.
};

}  // namespace tunefleet::coordinator
