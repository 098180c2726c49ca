#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "proto/log.h"
#include "tests/coordinator/simulate/world.h"

namespace {

using namespace tunefleet::simulate;

const std::map<std::string, Breakage> kBreakages{{"nothing", Breakage::kNone},

                                                 {"leader-fence", Breakage::kNoLeaderFence},
                                                 {"careful-agents", Breakage::kCarelessAgents},
                                                 {"ageing", Breakage::kNoAgeing},
                                                 {"reservation", Breakage::kNoReservation},
                                                 {"sweep-stop", Breakage::kForgetfulSweepStop}};

void print(const Scenario& scenario, const Verdict& verdict) {
  fmt::print("  seed {}, agents with {} slots, {} requests\n", scenario.seed,
             fmt::join(scenario.agent_slots, ", "), scenario.wishes.size());
  fmt::print("  messages lost {:.2f}, repeated {:.2f}, up to {} ms late\n", scenario.loss,
             scenario.repeat, scenario.slowest_ms);
  for (const auto& each : scenario.disturbances) {
    fmt::print("  at {:.3f} s: {}\n", static_cast<double>(each.at_ms) / 1000, text_of(each));
  }
  if (scenario.crowd) fmt::print("  then a wide job among a crowd of narrow ones\n");
  for (const auto& line : verdict.trace) fmt::print("  {}\n", line);
}

/// Says what broke, and the shortest scenario that breaks it.
void report(const Scenario& scenario, const Verdict& verdict, const std::string& broken) {
  fmt::print("seed {}: {}\nthe shortest scenario found that breaks it:\n", scenario.seed,
             verdict.broken);
  const Scenario shortest = shrink(scenario, verdict);
  print(shortest, run_scenario(shortest));
  fmt::print("again: tests/simulate --seed {} --seeds 1{}\n", scenario.seed,
             broken == "nothing" ? "" : " --without " + broken);
}

}  // namespace

int main(int argc, char** argv) {
  int64_t seeds = 1'000;
  uint64_t first = 1;
  std::string broken = "nothing";
  CLI::App app(
      "Runs the coordinator in a simulated world and checks its invariants after each step");
  app.add_option("--seeds", seeds, "How many runs")->capture_default_str();
  app.add_option("--seed", first, "The first run; alone with --seeds 1")->capture_default_str();
  app.add_option("--without", broken, "Leave something out on purpose, to see that it is missed")
      ->check(CLI::IsMember(kBreakages))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  tunefleet::log::configure("simulate", tunefleet::log::Level::kError);
  int64_t jobs = 0, attempts = 0, disturbances = 0;
  for (uint64_t seed = first; seed < first + static_cast<uint64_t>(seeds); ++seed) {
    const Scenario scenario = draw_scenario(seed, kBreakages.at(broken));
    const Verdict verdict = run_scenario(scenario);
    jobs += verdict.jobs;
    attempts += verdict.attempts;
    disturbances += static_cast<int64_t>(scenario.disturbances.size());
    if (verdict.broken.empty()) continue;
    report(scenario, verdict, broken);
    return 1;
  }
  fmt::print("{} seeds, {} jobs, {} attempts, {} disturbances: every invariant held\n", seeds, jobs,
             attempts, disturbances);
  return 0;
}
