#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/queue/job_store.h"
#include "coordinator/scheduler/plan_input.h"
#include "coordinator/scheduler/start_preview.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// An agent as the coordinator sees it.
struct AgentView {
  std::string host{};
  int64_t slots = 0;
  int64_t free_slots = 0;
  bool cuda = false;
  bool alive = false;  ///< Beat seen within the last three seconds.
  std::vector<std::string> jobs{};
};

/// Where a waiting job stands and why it waits, in words for people.
struct QueuePosition {
  int64_t position = 0;            ///< 1 = next; 0 = not waiting.
  std::string reason{};            ///< "waiting for 2 free slots (1 free of 2)".
  int64_t estimated_start_ms = 0;  ///< Unix milliseconds; 0: not known.
};

struct FleetOptions {
  /// What only one coordinator can hold at a time, such as "host:/its/locked/data/directory":
  /// another process of the same place takes its leadership over at once.
  std::string place{};
  std::string endpoint{};                  ///< tcp://127.0.0.1:* (a free port) or a fixed one.
  std::filesystem::path keys_directory{};  ///< Made when absent: coordinator.json (CURVE key pair,
                                           ///< 0600), node.json, allowed/.
  std::filesystem::path jobs_directory{};  ///< <jobs>/<job-id>/ is a job's run directory.
  std::vector<TenantPolicy> tenants{};     ///< Those that differ from the usual one.
};

/// Runs jobs on agents: listens to agents and ranks, plans, starts and stops gangs, moves jobs
/// through the store. Owns one thread. While another coordinator leads the fleet it stands by, with
/// its endpoint closed, and takes over when the other's lease has run out. See
/// coordinator/fleet/README.md.
class FleetService {
 public:
  /// Binds the endpoint, if it leads, and starts the thread. `store` outlives the service.
  static Result<std::unique_ptr<FleetService>> start(const FleetOptions& options, JobStore& store);
  virtual ~FleetService() = default;

  /// The bound address, with the real port: what agents connect to. Empty while standing by.
  virtual std::string endpoint() const = 0;
  /// Whether this coordinator leads, rather than standing by. Any thread.
  bool leads() const { return !endpoint().empty(); }
  /// Look at the queue now: a job was submitted or cancelled. Any thread.
  virtual void wake() = 0;
  virtual std::vector<AgentView> agents() const = 0;
  virtual QueuePosition position(const std::string& job) const = 0;
  /// What would become of `job` if it were submitted now, by the queue and the fleet as they were
  /// when the planner last looked. Any thread.
  virtual StartPreview preview(const WaitingJob& job) const = 0;
};

}  // namespace tunefleet::coordinator
