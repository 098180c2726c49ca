#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

namespace tunefleet::coordinator {

struct HangTimes {
  int64_t shortest_ms = 10'000;  ///< No gang counts as hanging earlier,
  double step_factor = 5.0;      ///< nor before this many of its slow (p99) steps.
  /// Loading, evaluating and saving have no steps to go by.
  int64_t other_phase_ms = 900'000;
  int64_t silent_rank_ms = 5'000;  ///< A rank whose beats stay away while another's come.
};

/// What a rank's beat says about how far it is.
struct RankProgress {
  int64_t rank = 0;
  std::string host{};
  std::string phase{};  ///< loading | training | evaluating | saving | finished
  int64_t step = 0;
  int64_t collectives = 0;  ///< Collective operations entered; 0: not told.
};

/// The rank to blame for a gang that makes no progress.
struct HungRank {
  int64_t rank = 0;
  std::string host{};
  std::string message{};  ///< "no progress for 12 s at step 340, its beats have stopped for 6 s"
};

/// Follows the beats of one gang's ranks and tells when it hangs: alive is not progressing. A
/// value; times are milliseconds of any clock that only goes forward.
///
/// A gang hangs when it has neither finished a step, nor changed its phase, for longer than
/// max(shortest_ms, step_factor x p99 of its steps), or other_phase_ms outside training. Blamed is
/// the rank whose beats have stopped, else the one that is behind the others, in steps or in
/// collective operations, else rank 0.
class ProgressWatch {
 public:
  void take(const RankProgress& beat, int64_t now_ms);
  std::optional<HungRank> hung(const HangTimes& times, int64_t now_ms) const;
  /// The coordinator itself stood still: what could not be read counts as in time.
  void forgive(int64_t stalled_ms);

 private:
  struct Rank {
    RankProgress newest{};
    int64_t heard_ms = 0;
  };
  int64_t limit_ms(const HangTimes& times) const;
  const Rank& to_blame(const HangTimes& times, int64_t now_ms) const;

  std::map<int64_t, Rank> ranks_;
  std::string phase_;            ///< Of rank 0.
  int64_t step_ = -1;            ///< The furthest of any rank.
  int64_t moved_ms_ = 0;         ///< When phase or step last changed.
  std::deque<int64_t> step_ms_;  ///< How long the newest steps took, at most kRemembered.
};

}  // namespace tunefleet::coordinator
