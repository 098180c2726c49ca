// How many jobs go through the durable queue in a second: created, started and ended, each step on
// disk (appendfsync always) before its answer comes. Starts and ends are fenced, as the leader's
// are.
//
//   queue_load [--jobs 20000] [--threads 32]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "coordinator/queue/job_store.h"
#include "tests/coordinator/queue/redis_server.h"

namespace {

using namespace tunefleet::coordinator;
using Clock = std::chrono::steady_clock;

/// One job from its creation to its end; how long each of the three steps took, in ms.
std::vector<double> live(JobStore& store, int64_t leader) {
  std::vector<double> steps;
  auto begun = Clock::now();
  const auto took = [&] {
    const auto now = Clock::now();
    steps.push_back(std::chrono::duration<double, std::milli>(now - begun).count());
    begun = now;
  };
  const auto made = store.create({.owner = "bench",
                                  .phase = JobPhase::kQueued,
                                  .spec = {{"model", "m"}, {"seed", 42}},
                                  .request = {{"model", "m"}}},
                                 "");
  took();
  if (!made) throw std::runtime_error(made.error().message);
  const auto started =
      store.transition(made->id, 0, JobPhase::kQueued, JobPhase::kRunning,
                       {.leader = leader, .placement = Placement{{.host = "a", .ranks = 1}}});
  took();
  if (!started) throw std::runtime_error(started.error().message);
  const auto ended =
      store.transition(made->id, 1, JobPhase::kRunning, JobPhase::kSucceeded, {.leader = leader});
  took();
  if (!ended) throw std::runtime_error(ended.error().message);
  return steps;
}

double percentile(std::vector<double>& sorted, double part) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(part * static_cast<double>(sorted.size())))];
}

}  // namespace

int main(int argc, char** argv) {
  int64_t jobs = 20'000;
  int threads = 32;
  CLI::App app("Sends jobs through the durable queue in a private Redis, and prints how fast");
  app.add_option("--jobs", jobs)->capture_default_str();
  app.add_option("--threads", threads, "Callers at the same time")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  RedisServer redis;
  const auto store = open_redis_job_store(redis.url());
  if (!store) {
    fmt::print(stderr, "error: {}\n", store.error().message);
    return 1;
  }
  const auto leader = (*store)->lead("bench", "bench", 3'600'000);
  if (!leader) {
    fmt::print(stderr, "error: {}\n", leader.error().message);
    return 1;
  }
  std::atomic<int64_t> left = jobs;
  std::mutex mutex;
  std::vector<double> times;
  const auto begun = Clock::now();
  std::vector<std::thread> callers;
  for (int i = 0; i < threads; ++i) {
    callers.emplace_back([&] {
      std::vector<double> mine;
      while (left-- > 0) {
        for (const double ms : live(**store, leader->generation)) mine.push_back(ms);
      }
      const std::lock_guard lock(mutex);
      times.insert(times.end(), mine.begin(), mine.end());
    });
  }
  for (auto& caller : callers) caller.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  std::ranges::sort(times);
  fmt::print(
      "{} jobs created, started and ended in {:.1f} s: {:.0f} a second; a step takes {:.2f} ms "
      "(p50), {:.2f} ms (p99)\n",
      jobs, seconds, static_cast<double>(jobs) / seconds, percentile(times, 0.5),
      percentile(times, 0.99));
  return 0;
}
