// Times plan() on a large fleet: planner_scale [--agents N] [--waiting N] [--rounds N]
// Prints p50 and p99 of a plan of each scene in milliseconds; the numbers depend on the machine.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/scheduler/planner.h"

namespace {

using namespace tunefleet::coordinator;  // NOLINT(google-build-using-namespace): a program.

constexpr int64_t kHour = 3'600'000;
constexpr int64_t kNow = 1'000 * kHour;
constexpr int64_t kSlots = 8;

struct Sizes {
  int64_t agents = 1'000;
  int64_t waiting = 10'000;
  int64_t rounds = 100;
};

/// A fleet with a mixed queue. `load`: the part of the slots that is taken.
class Scene {
 public:
  Scene(const Sizes& sizes, double load, bool span_agents) {
    input_.now_ms = kNow;
    input_.policy.span_agents = span_agents;
    for (int64_t i = 0; i < sizes.agents; ++i) add_agent(i, load);
    for (int64_t i = 0; i < sizes.waiting; ++i) input_.waiting.push_back(any_job(i));
    std::ranges::sort(input_.waiting, {}, [](const WaitingJob& job) {  // As the queue has them.
      return std::pair(-job.priority, job.submitted_at_ms);
    });
    for (int i = 0; i < 20; ++i) {
      input_.tenants.push_back({.tenant = tenant(i),
                                .weight = 1.0 + i % 3,
                                .max_slots = i % 5 == 0 ? 200 : 0,
                                .used_device_ms = i * 1e7});
    }
  }

  const PlanInput& input() const { return input_; }

 private:
  static std::string tenant(int64_t number) { return "tenant-" + std::to_string(number); }
  int64_t any(int64_t from, int64_t to) { return std::uniform_int_distribution(from, to)(random_); }

  void add_agent(int64_t number, double load) {
    AgentSlots agent{.host = "host-" + std::to_string(number), .slots = kSlots};
    agent.free_slots = kSlots;
    while (agent.free_slots > 0 && std::uniform_real_distribution(0.0, 1.0)(random_) < load) {
      const int64_t ranks = any(1, agent.free_slots);
      agent.free_slots -= ranks;
      input_.running.push_back({.id = "ftjob-running-" + std::to_string(input_.running.size()),
                                .tenant = tenant(any(0, 19)),
                                .priority = any(0, 3),
                                .min_workers = any(0, 1) == 0 ? 1 : ranks,
                                .max_workers = ranks,
                                .placement = {{agent.host, ranks}},
                                .started_at_ms = kNow - any(0, kHour),
                                .expected_end_ms = any(0, 1) == 0 ? 0 : kNow + any(0, kHour)});
    }
    input_.agents.push_back(std::move(agent));
  }

  WaitingJob any_job(int64_t number) {
    WaitingJob job{.id = "ftjob-waiting-" + std::to_string(number), .tenant = tenant(any(0, 19))};
    job.min_workers = any(1, kSlots);
    job.max_workers = any(0, 3) == 0 ? 2 * job.min_workers : job.min_workers;
    job.priority = any(0, 5);
    job.submitted_at_ms = kNow - any(0, 12 * kHour);
    job.expected_ms = any(0, 2) == 0 ? 0 : any(1, 2 * kHour);
    if (any(0, 9) == 0) job.excluded_hosts = {"host-" + std::to_string(any(0, 99))};
    return job;
  }

  std::mt19937_64 random_{20'260'101};
  PlanInput input_;
};

void time_plans(const char* name, const Scene& scene, int64_t rounds) {
  std::vector<double> times_ms;
  Plan last;
  for (int64_t round = 0; round < rounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    last = plan(scene.input());
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    times_ms.push_back(time.count());
  }
  std::ranges::sort(times_ms);
  const auto quantile = [&times_ms](double q) {
    return times_ms[static_cast<size_t>(q * static_cast<double>(times_ms.size() - 1))];
  };
  std::printf("%-28s p50 %8.3f ms   p99 %8.3f ms   %zu starts, %zu stops, %zu wait\n", name,
              quantile(0.5), quantile(0.99), last.starts.size(), last.stops.size(),
              last.waits.size());
}

bool read_sizes(int argc, char** argv, Sizes& sizes) {
  const std::map<std::string_view, int64_t*> options{
      {"--agents", &sizes.agents}, {"--waiting", &sizes.waiting}, {"--rounds", &sizes.rounds}};
  for (int i = 1; i + 1 < argc; i += 2) {
    const auto option = options.find(argv[i]);
    const std::string_view value = argv[i + 1];
    if (option == options.end()) return false;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), *option->second);
    if (read.ec != std::errc() || *option->second < 1) return false;
  }
  return argc % 2 == 1;
}

}  // namespace

int main(int argc, char** argv) {
  Sizes sizes;
  if (!read_sizes(argc, argv, sizes)) {
    std::fprintf(stderr, "usage: planner_scale [--agents N] [--waiting N] [--rounds N]\n");
    return EXIT_FAILURE;
  }
  time_plans("full", Scene(sizes, 1.0, true), sizes.rounds);
  time_plans("half full", Scene(sizes, 0.5, true), sizes.rounds);
  time_plans("empty", Scene(sizes, 0.0, true), sizes.rounds);
  time_plans("full, one agent a gang", Scene(sizes, 1.0, false), sizes.rounds);
  time_plans("half full, one agent a gang", Scene(sizes, 0.5, false), sizes.rounds);
  return EXIT_SUCCESS;
}
