#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "proto/result.h"

/// A rank's line to the coordinator. No torch in this header or behind it.
namespace tunefleet::trainer {

/// Where a rank is; what its beat carries each second.
struct RankStatus {
  std::string phase = "loading";  ///< loading | training | evaluating | saving | finished
  int64_t step = 0;
  int64_t max_steps = 0;
  double loss = 0.0;
  double learning_rate = 0.0;
  double tokens_per_s = 0.0;
  double remaining_s = 0.0;
  int64_t device_bytes = 0;
};

/// One line of the run's story.
struct RankMessage {
  std::string level = "info";    ///< info | warn | error
  std::string type = "message";  ///< message | metrics | checkpoint
  std::string message;
  std::string data_json;  ///< An object, or empty.
};

/// Reports to the coordinator when this run belongs to a service; otherwise every call does
/// nothing. Beats come from a thread apart from training, so that a long step does not look like a
/// dead rank. Training never waits for the network: messages queue up until the coordinator
/// acknowledges them. Of several coordinators the one that leads is found by trying them in turn,
/// also when another one begins to lead.
class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void update(const RankStatus& status) = 0;
  virtual void tell(const RankMessage& message) = 0;
  /// Waits until everything told has been acknowledged, `limit` at most.
  virtual void finish(std::chrono::milliseconds limit) = 0;
};

/// The reporter that TUNEFLEET_RANK_ENDPOINT, TUNEFLEET_CURVE, TUNEFLEET_JOB and TUNEFLEET_ATTEMPT
/// describe, the first with commas where there are several coordinators; one that does nothing when
/// there is no endpoint. `collectives`, the collective operations this rank has entered, is read
/// for each beat and outlives the reporter; none: beats say 0. kInvalidArgument for an unreadable
/// key file or a missing variable.
Result<std::unique_ptr<Reporter>> make_reporter(int rank, int world_size,
                                                const std::atomic<uint64_t>* collectives = nullptr);

}  // namespace tunefleet::trainer
