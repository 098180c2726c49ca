#include "coordinator/sweep/sweep_controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const SweepPlan kPlan{.metric = "loss",
                      .halving = Halving{.eta = 3, .min_steps = 10, .max_steps = 90},
                      .max_parallel = 9};

Trial running(std::map<int64_t, double> metrics = {}) {
  return {.made = true, .phase = JobPhase::kRunning, .metrics = std::move(metrics)};
}

TEST(SweepPlan, ItsRungsGrowByEta) {
  EXPECT_THAT(kPlan.rungs(), ElementsAre(10, 30));
  EXPECT_THAT(SweepPlan{}.rungs(), IsEmpty());
  SweepPlan wide = kPlan;
  wide.halving->max_steps = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(wide.rungs().size(), 38U);  // 10 * 3^37 is the last that fits.
  const auto back = sweep_plan_from_json(to_json(kPlan));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, kPlan);
}

TEST(SweepController, MakesAsManyAsMayRunAtOnce) {
  SweepPlan plan = kPlan;
  plan.max_parallel = 2;
  std::vector<Trial> trials(4);
  EXPECT_THAT(decide(SweepPhase::kRunning, plan, trials).make, ElementsAre(0, 1));
  trials[0] = {.made = true, .phase = JobPhase::kSucceeded};
  trials[1] = running();
  EXPECT_THAT(decide(SweepPhase::kRunning, plan, trials).make, ElementsAre(2));
}

TEST(SweepController, StopsThoseBehindTheCutAndSaysWhy) {
  std::vector<Trial> trials;
  for (const double loss : {5.0, 1.0, 4.0, 2.0, 3.0}) trials.push_back(running({{10, loss}}));
  const auto actions = decide(SweepPhase::kRunning, kPlan, trials);
  EXPECT_THAT(actions.stop, ElementsAre(TrialStop{0, "behind at step 10, rank 5 of 5"},
                                        TrialStop{2, "behind at step 10, rank 4 of 5"},
                                        TrialStop{4, "behind at step 10, rank 3 of 5"}));
}

TEST(SweepController, ComparesNobodyBeforeEtaHaveReachedTheRung) {
  const auto actions = decide(SweepPhase::kRunning, kPlan,
                              {running({{10, 1.0}}), running({{10, 9.0}}), running({{5, 99.0}})});
  EXPECT_THAT(actions.stop, IsEmpty());
}

TEST(SweepController, ATrialPastARungIsNotComparedThereAnyMore) {
  // The first was lucky to come early: it is compared at step 30 now, where it is alone.
  const auto actions = decide(SweepPhase::kRunning, kPlan,
                              {running({{10, 9.0}, {30, 8.0}}), running({{10, 1.0}}),
                               running({{10, 2.0}}), running({{10, 3.0}})});
  EXPECT_THAT(actions.stop, ElementsAre(TrialStop{3, "behind at step 10, rank 3 of 4"}));
}

TEST(SweepController, AMeasurementBehindTheRungCountsForIt) {
  const auto standing = standing_of(kPlan, running({{8, 5.0}, {12, 4.0}}));
  ASSERT_TRUE(standing);
  EXPECT_EQ(standing->rung, 1);
  EXPECT_EQ(standing->value, 4.0);
}

TEST(SweepController, ALossThatIsNoNumberIsTheWorst) {
  const auto actions = decide(SweepPhase::kRunning, kPlan,
                              {running({{10, std::numeric_limits<double>::infinity()}}),
                               running({{10, 1.0}}), running({{10, 2.0}})});
  EXPECT_EQ(actions.stop.front().trial, 0U);
}

TEST(SweepController, WithoutHalvingNobodyIsStopped) {
  SweepPlan plan = kPlan;
  plan.halving.reset();
  std::vector<Trial> trials;
  for (int i = 0; i < 9; ++i) trials.push_back(running({{10, i}}));
  EXPECT_THAT(decide(SweepPhase::kRunning, plan, trials).stop, IsEmpty());
  EXPECT_EQ(best_trial(plan, trials), 0U);
}

TEST(SweepController, EndsWithItsJobs) {
  const Trial failed{.made = true, .phase = JobPhase::kFailed};
  const Trial done{.made = true, .phase = JobPhase::kSucceeded};
  EXPECT_EQ(decide(SweepPhase::kRunning, kPlan, {failed, done}).move, SweepPhase::kSucceeded);
  EXPECT_EQ(decide(SweepPhase::kRunning, kPlan, {failed, failed}).move, SweepPhase::kFailed);
  EXPECT_FALSE(decide(SweepPhase::kRunning, kPlan, {failed, running()}).move);
  EXPECT_EQ(decide(SweepPhase::kSucceeded, kPlan, {done}), SweepActions{});
}

TEST(SweepController, CancellingStopsWhatRunsAndMakesNothing) {
  Trial asked = running();
  asked.stopping = true;
  const auto actions = decide(SweepPhase::kCancelling, kPlan, {running(), asked, Trial{}});
  EXPECT_THAT(actions.stop, ElementsAre(TrialStop{0, "the sweep was cancelled"}));
  EXPECT_THAT(actions.make, IsEmpty());
  EXPECT_FALSE(actions.move);
  const Trial ended{.made = true, .phase = JobPhase::kCancelled};
  EXPECT_EQ(decide(SweepPhase::kCancelling, kPlan, {ended, Trial{}}).move, SweepPhase::kCancelled);
}

/// Any sweep at any moment.
struct Scene {
  SweepPlan plan;
  std::vector<Trial> trials;
};

Scene any_scene() {
  Scene scene;
  scene.plan = {.metric = "loss",
                .halving = Halving{.eta = *rc::gen::inRange<int64_t>(2, 5),
                                   .min_steps = *rc::gen::inRange<int64_t>(1, 20),
                                   .max_steps = *rc::gen::inRange<int64_t>(21, 400)},
                .max_parallel = *rc::gen::inRange<int64_t>(1, 12)};
  scene.trials.resize(*rc::gen::inRange<size_t>(1, 20));
  for (Trial& trial : scene.trials) {
    trial.made = *rc::gen::arbitrary<bool>();
    if (!trial.made) continue;
    trial.phase = *rc::gen::element(JobPhase::kQueued, JobPhase::kRunning, JobPhase::kSucceeded,
                                    JobPhase::kFailed, JobPhase::kCancelled);
    trial.stopping = *rc::gen::arbitrary<bool>();
    const auto reached = *rc::gen::inRange<int64_t>(0, scene.plan.halving->max_steps + 1);
    for (int64_t step = 1; step <= reached; step += 5)
      trial.metrics[step] = *rc::gen::inRange(0, 50);
  }
  return scene;
}

RC_GTEST_PROP(SweepLaws, TheBestIsNeverStopped, ()) {
  const Scene scene = any_scene();
  const auto best = best_trial(scene.plan, scene.trials);
  for (const auto& stop : decide(SweepPhase::kRunning, scene.plan, scene.trials).stop)
    RC_ASSERT(stop.trial != best);
}

RC_GTEST_PROP(SweepLaws, TheBestPartOfEveryRungGoesOn, ()) {
  const Scene scene = any_scene();
  const auto stops = decide(SweepPhase::kRunning, scene.plan, scene.trials).stop;
  for (const int64_t rung : scene.plan.rungs()) {
    std::vector<double> values;  // Of all that reached it, with where they stand now.
    for (const Trial& trial : scene.trials) {
      const auto found = trial.metrics.lower_bound(rung);
      if (found != trial.metrics.end()) values.push_back(found->second);
    }
    std::ranges::sort(values);
    const auto eta = static_cast<size_t>(scene.plan.halving->eta);
    const size_t go_on = (values.size() + eta - 1) / eta;
    for (const auto& stop : stops) {
      const Trial& trial = scene.trials[stop.trial];
      if (standing_of(scene.plan, trial)->step != rung) continue;
      RC_ASSERT(values.size() >= eta);
      RC_ASSERT(trial.metrics.lower_bound(rung)->second >= values[go_on - 1]);
    }
  }
}

RC_GTEST_PROP(SweepLaws, DecidingTwiceIsDecidingOnce, ()) {
  Scene scene = any_scene();
  const auto actions = decide(SweepPhase::kRunning, scene.plan, scene.trials);
  RC_ASSERT(decide(SweepPhase::kRunning, scene.plan, scene.trials) == actions);
  // Carried out, they are not asked for again.
  for (const auto& stop : actions.stop) scene.trials[stop.trial].stopping = true;
  for (const size_t trial : actions.make) scene.trials[trial].made = true;
  const auto again = decide(SweepPhase::kRunning, scene.plan, scene.trials);
  RC_ASSERT(again.stop.empty());
  RC_ASSERT(again.make.empty());
}

RC_GTEST_PROP(SweepLaws, NoMoreThanMayBeAreUnderWay, ()) {
  const Scene scene = any_scene();
  const auto actions = decide(SweepPhase::kRunning, scene.plan, scene.trials);
  int64_t under_way = 0;
  for (const Trial& trial : scene.trials) under_way += trial.made && !trial.ended() ? 1 : 0;
  const auto made = static_cast<int64_t>(actions.make.size());
  RC_ASSERT(made == 0 || under_way + made <= scene.plan.max_parallel);
}

/// Runs a whole sweep: jobs go forward at random, or fail, and what is asked is done later.
RC_GTEST_PROP(SweepLaws, EverySweepAndEachOfItsJobsEnds, ()) {
  Scene scene = any_scene();
  for (Trial& trial : scene.trials) trial = {};
  const int64_t max_steps = scene.plan.halving->max_steps;
  for (int turn = 0; turn < 10'000; ++turn) {
    const auto actions = decide(SweepPhase::kRunning, scene.plan, scene.trials);
    if (actions.move) {
      for (const Trial& trial : scene.trials) RC_ASSERT(trial.ended());
      return;
    }
    for (const size_t trial : actions.make) scene.trials[trial] = running();
    for (const auto& stop : actions.stop) scene.trials[stop.trial].stopping = true;
    for (Trial& trial : scene.trials) {
      if (!trial.made || trial.ended() || !*rc::gen::arbitrary<bool>()) continue;
      const int64_t step = trial.metrics.empty() ? 0 : trial.metrics.rbegin()->first;
      const int64_t next = std::min(max_steps, step + 7);
      trial.metrics[next] = *rc::gen::inRange(0, 100);
      if (trial.stopping) trial.phase = JobPhase::kCancelled;
      if (next == max_steps) trial.phase = JobPhase::kSucceeded;
    }
  }
  RC_FAIL("the sweep does not end");
}

}  // namespace
}  // namespace tunefleet::coordinator
