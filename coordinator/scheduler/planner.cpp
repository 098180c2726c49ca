#include "coordinator/scheduler/planner.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "coordinator/scheduler/backfill.h"
#include "coordinator/scheduler/elastic.h"
#include "coordinator/scheduler/fair_share.h"
#include "coordinator/scheduler/preemption.h"
#include "coordinator/scheduler/reasons.h"
#include "coordinator/scheduler/reservation.h"
#include "coordinator/scheduler/slot_index.h"
#include "coordinator/scheduler/start_estimate.h"
#include "coordinator/scheduler/tenant_ledger.h"

namespace tunefleet::coordinator {
namespace {

/// How many of those that wait are told when they will start: so far behind it would be guesswork.
constexpr size_t kEstimated = 2'000;

/// One making of a plan: a walk over the waiting jobs, and what it has given away so far.
class Planning {
 public:
  explicit Planning(const PlanInput& input)
      : input_(input),
        slots_(input.agents, input.policy.span_agents),
        ledger_(input),
        occupants_(occupants_of(input, slots_)),
        quotas_(input.waiting.size()) {
    plan_.waits.reserve(input.waiting.size());
    size_t bytes = 0;
    for (const auto& job : input.waiting) bytes += job.id.size();
    names_->reserve(bytes);  // It stays where it is: the plan's names point into it.
    waiting_.reserve(input.waiting.size());
  }

  Plan run() {
    FairOrder order(input_, ledger_);
    while (const auto next = order.next()) look_at(input_.waiting[next->job], next->tenant);
    widen_starts();
    if (input_.waiting.empty()) grow_one();
    write_starts();
    estimate_waits();
    plan_.names = std::move(names_);
    return std::move(plan_);
  }

 private:
  struct Started {
    const WaitingJob* job;
    size_t tenant;
    AgentSet where;
    Seats seats;
    int64_t width;
  };
  /// The first job that has to wait for slots: everything behind it leaves its reservation alone.
  struct Head {
    const WaitingJob* job;
    size_t tenant;
    Backfill backfill;
    size_t wider_reason;  ///< For the narrower jobs behind it,
    size_t other_reason;  ///< and for the others.
  };
  /// How far a tenant's quota has held back its jobs.
  struct Quota {
    const WaitingJob* head = nullptr;  ///< The first that it holds back.
    size_t behind_reason = 0;          ///< For those behind the head.
    int64_t told_width = 0;            ///< What told_reason was made for,
    int64_t told_used = 0;             ///< and what was in use then.
    size_t told_reason = 0;
  };

  void look_at(const WaitingJob& job, size_t tenant) {
    if (slots_.size() == 0) return wait(job, no_agent_reason(), false);
    if (job.excluded_hosts.empty()) return look_at(job, tenant, everywhere_);
    look_at(job, tenant, slots_.without(job.excluded_hosts));
  }

  void look_at(const WaitingJob& job, size_t tenant, const AgentSet& where) {
    if (const int64_t capacity = slots_.capacity_in(where); capacity < min_of(job)) {
      return wait(job, told(reasons::too_wide(job, capacity, slots_.span_agents())), false);
    }
    if (job.not_before_ms > input_.now_ms) {
      return wait(job, told(reasons::pause(job.not_before_ms - input_.now_ms)), false);
    }
    if (held_by_quota(job, tenant)) return;
    if (!start(job, tenant, where)) wait_in_line(job, tenant, where);
  }

  static int64_t min_of(const WaitingJob& job) { return std::max<int64_t>(1, job.min_workers); }

  /// A job that its tenant's quota holds back holds back the tenant's later ones, or narrow jobs
  /// would keep a wide one waiting for good. One that is wider than the quota holds nobody.
  bool held_by_quota(const WaitingJob& job, size_t tenant) {
    Quota& quota = quotas_[tenant];
    if (ledger_.left(tenant) >= min_of(job)) {
      if (quota.head == nullptr) return false;
      wait(job, quota.behind_reason, false);
      return true;
    }
    if (quota.head == nullptr && min_of(job) <= ledger_.quota(tenant)) {
      quota.head = &job;
      quota.behind_reason = told(reasons::behind_in_quota(job.id));
    }
    wait(job, quota_reason(job, tenant), false);
    return true;
  }

  /// The words depend on the width and on what is in use: the same for many jobs in a row.
  size_t quota_reason(const WaitingJob& job, size_t tenant) {
    Quota& quota = quotas_[tenant];
    const bool elastic = job.max_workers > job.min_workers;
    const int64_t width = elastic ? -job.min_workers : job.min_workers;
    if (quota.told_width != width || quota.told_used != ledger_.used(tenant) || width == 0) {
      quota.told_width = width;
      quota.told_used = ledger_.used(tenant);
      quota.told_reason = told(reasons::quota(job, ledger_, tenant));
    }
    return quota.told_reason;
  }

  bool start(const WaitingJob& job, size_t tenant, const AgentSet& where) {
    const int64_t ranks = min_of(job);
    if (slots_.free_in(AgentSet::all()) < ranks || takes_heads_quota(job, tenant, ranks)) {
      return false;
    }
    auto seats = head_ ? head_->backfill.place(ranks, job.expected_ms, where, slots_)
                       : slots_.place(ranks, where);
    if (!seats) return false;
    slots_.take(*seats);
    ledger_.use(tenant, ranks);
    if (head_) head_->backfill.note({}, *seats, job.expected_ms);
    started_.push_back({&job, tenant, where, std::move(*seats), ranks});
    return true;
  }

  /// Whether `ranks` more would leave the head's tenant too little of its quota when the head
  /// starts.
  bool takes_heads_quota(const WaitingJob& job, size_t tenant, int64_t ranks) const {
    if (!head_ || head_->tenant != tenant) return false;
    if (head_->backfill.ends_in_time(job.expected_ms)) return false;
    return ledger_.left(tenant) - min_of(*head_->job) < ranks;
  }

  void wait_in_line(const WaitingJob& job, size_t tenant, const AgentSet& where) {
    ledger_.claim(tenant, min_of(job));
    if (!head_) return become_head(job, tenant, where);
    const bool narrower = min_of(job) < min_of(*head_->job);
    wait(job, narrower ? head_->wider_reason : head_->other_reason, true);
  }

  void become_head(const WaitingJob& job, size_t tenant, const AgentSet& where) {
    Reservation claim = reserve(min_of(job), where, slots_, releases());
    if (claim.start_ms > input_.now_ms + input_.policy.stop_takes_ms) {
      const auto stops = make_room(job, where, slots_, occupants_, input_);
      for (const auto& stop : stops) stop_for(job, stop);
      if (!stops.empty()) claim = reserve(min_of(job), where, slots_, releases());
    }
    wait(job, told(reasons::slots_taken(job, slots_, where, coming_on(claim.pool))), true);
    head_ = Head{&job, tenant, Backfill(std::move(claim), input_.now_ms),
                 told(reasons::behind(job.id, true)), told(reasons::behind(job.id, false))};
  }

  void stop_for(const WaitingJob& job, const Stop& stop) {
    Occupant& occupant = occupants_[stop.occupant];
    const RunningJob& running = *occupant.job;
    const bool resized = stop.new_size > 0;
    plan_.stops.push_back(
        {.job = running.id,
         .why = resized ? StopWhy::kResize : StopWhy::kPreempt,
         .for_job = job.id,
         .new_size = stop.new_size,
         .reason = resized ? reasons::made_narrower(occupant.width, stop.new_size, job)
                           : reasons::preempted(running, job)});
    occupant.free_at_ms = input_.now_ms + input_.policy.stop_takes_ms;
    occupant.returns = stop.new_size;
    occupant.stopping = true;
  }

  int64_t coming_on(const AgentSet& pool) const {
    int64_t coming = 0;
    for (const auto& occupant : occupants_) {
      if (!occupant.stopping) continue;
      coming += std::max<int64_t>(0, ranks_in(occupant.seats, pool) - occupant.returns);
    }
    return coming;
  }

  /// What is known to come free, by the running jobs and those that start now.
  std::vector<Release> releases() const {
    std::vector<Release> releases;
    releases.reserve(occupants_.size() + started_.size());
    for (const auto& occupant : occupants_) {
      if (occupant.free_at_ms == kNever) continue;
      releases.push_back({occupant.free_at_ms, &occupant.seats, occupant.returns});
    }
    for (const auto& start : started_) {
      if (start.job->expected_ms <= 0) continue;
      releases.push_back({input_.now_ms + start.job->expected_ms, &start.seats});
    }
    return releases;
  }

  void widen_starts() {
    for (auto& start : started_) {
      if (start.job->max_workers > start.width) widen(start);
    }
  }

  void widen(Started& start) {
    if (quotas_[start.tenant].head != nullptr) return;  // The quota's rest is spoken for.
    int64_t more = std::min(start.job->max_workers - start.width, ledger_.left(start.tenant));
    if (head_ && !head_->backfill.ends_in_time(start.job->expected_ms)) {
      more = std::min(more, head_->backfill.reservation().spare);
      if (head_->tenant == start.tenant) {
        more = std::min(more, ledger_.left(start.tenant) - min_of(*head_->job));
      }
    }
    if (more <= 0) return;
    slots_.give(start.seats);
    const int64_t width = std::min(start.width + more, slots_.room_in(start.where));
    const auto seats = slots_.place(width, start.where);
    if (seats && (!head_ || head_->backfill.allows(start.seats, *seats, start.job->expected_ms))) {
      if (head_) head_->backfill.note(start.seats, *seats, start.job->expected_ms);
      ledger_.use(start.tenant, width - start.width);
      start.width = width;
      start.seats = *seats;
    }
    slots_.take(start.seats);
  }

  void grow_one() {
    const auto stop = grow(occupants_, slots_, ledger_, input_);
    if (!stop) return;
    const Occupant& occupant = occupants_[stop->occupant];
    plan_.stops.push_back({.job = occupant.job->id,
                           .why = StopWhy::kResize,
                           .new_size = stop->new_size,
                           .reason = reasons::made_wider(occupant.width, stop->new_size)});
  }

  JobName name_of(const WaitingJob& job) {
    const size_t begin = names_->size();
    names_->append(job.id);
    return JobName(std::string_view(*names_).substr(begin));
  }

  void wait(const WaitingJob& job, size_t reason, bool in_line) {
    plan_.waits.push_back({.job = name_of(job),
                           .position = static_cast<int64_t>(plan_.waits.size()) + 1,
                           .reason = reason});
    waiting_.push_back({&job, in_line});
  }

  /// Keeps words for people; their index.
  size_t told(std::string reason) {
    plan_.reasons.push_back(std::move(reason));
    return plan_.reasons.size() - 1;
  }
  size_t no_agent_reason() { return plan_.reasons.empty() ? told("no agent is connected") : 0; }

  void write_starts() {
    for (const auto& start : started_) {
      plan_.starts.push_back({start.job->id, slots_.placement_of(start.seats)});
    }
  }

  /// For the jobs that wait for slots, and the end of the pause for those in one.
  void estimate_waits() {
    StartEstimate estimate(input_.now_ms, slots_.free_in(AgentSet::all()), releases());
    if (head_) estimate.not_before(head_->backfill.reservation().start_ms);
    for (size_t i = 0; i < waiting_.size(); ++i) {
      const auto& [job, in_line] = waiting_[i];
      if (in_line && i < kEstimated)
        plan_.waits[i].estimated_start_ms = estimate.next(min_of(*job), job->expected_ms);
      if (job->not_before_ms > input_.now_ms)
        plan_.waits[i].estimated_start_ms = job->not_before_ms;
    }
  }

  const PlanInput& input_;
  SlotIndex slots_;
  TenantLedger ledger_;
  std::vector<Occupant> occupants_;
  std::vector<Quota> quotas_;  ///< By tenant; there are at most as many as jobs.
  const AgentSet everywhere_ = AgentSet::all();
  std::optional<Head> head_;
  std::vector<Started> started_;
  std::vector<std::pair<const WaitingJob*, bool>> waiting_;  ///< As plan_.waits; whether in line.
  std::shared_ptr<std::string> names_ = std::make_shared<std::string>();
  Plan plan_;
};

}  // namespace

Plan plan(const PlanInput& input) { return Planning(input).run(); }

}  // namespace tunefleet::coordinator
