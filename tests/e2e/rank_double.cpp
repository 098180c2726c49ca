#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include "worker/trainer/reporter.h"

/// Stands in for tunefleet-trainer where only the service is tried:
///   rank_double JOURNALS run JOB.json --output-dir RUN
/// Takes `max_steps` steps of kStep, goes on from the last step an earlier attempt has noted, and
/// reports as the trainer does. Writes down when it lived: a file of its own,
/// JOURNALS/<job>.<attempt>.<rank>.<pid>, gets a line for the start, each step and the end with the
/// time of the monotonic clock, which all processes of a machine share. A job named "fails" ends
/// with a user's mistake.

namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kStep = 20ms;
constexpr int64_t kStepsToTell = 10;
constexpr int kUserMistake = 2, kAskedToStop = 143;

std::string variable(const char* name, const char* otherwise = nullptr) {
  const char* value = std::getenv(name);
  if (value == nullptr) value = otherwise;
  if (value == nullptr) throw std::runtime_error(fmt::format("{} is not set", name));
  return value;
}

/// Each line is one write, so that a kill leaves only whole ones. Signal-safe once it is made.
class Journal {
 public:
  Journal(const std::string& directory, int rank)
      : file_(::open(fmt::format("{}/{}.{}.{}.{}", directory, variable("TUNEFLEET_JOB"),
                                 variable("TUNEFLEET_ATTEMPT"), rank, ::getpid())
                         .c_str(),
                     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_ < 0) throw std::runtime_error("cannot write a journal in " + directory);
  }
  void note(const char* word) const {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto line = fmt::format("{} {}.{:09}\n", word, now.tv_sec, now.tv_nsec);
    if (::write(file_, line.data(), line.size()) < 0) ::_exit(1);
  }

 private:
  int file_;
};

json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return json::parse(file, nullptr, /*allow_exceptions=*/false);
}

void replace(const std::filesystem::path& path, const json& value) {
  const auto aside = path.string() + ".aside";
  std::ofstream(aside) << value;
  std::filesystem::rename(aside, path);
}

volatile std::sig_atomic_t asked_to_stop = 0;

int run(char** arguments) {
  const std::filesystem::path run_directory = arguments[5];
  const int rank = std::stoi(variable("OMPI_COMM_WORLD_RANK", "0"));
  const int world_size = std::stoi(variable("OMPI_COMM_WORLD_SIZE", "1"));
  const Journal journal(arguments[1], rank);
  journal.note("start");
  std::signal(SIGTERM, [](int) { asked_to_stop = 1; });
  const json job = read_json(arguments[3]);
  const auto steps = job.at("max_steps").get<int64_t>();
  auto reporter = tunefleet::trainer::make_reporter(rank, world_size);
  if (!reporter) throw std::runtime_error(reporter.error().message);
  const auto noted = run_directory / "double.step";
  const json begun = read_json(noted);
  for (int64_t step = begun.is_number_integer() ? begun.get<int64_t>() : 0; step < steps;) {
    std::this_thread::sleep_for(kStep);
    if (asked_to_stop != 0) {
      journal.note("end");
      return kAskedToStop;
    }
    journal.note("step");
    ++step;
    (*reporter)->update({.phase = "training", .step = step, .max_steps = steps});
    if (rank != 0) continue;
    replace(noted, step);
    if (step % kStepsToTell != 0) continue;
    (*reporter)->tell({.level = "info",
                       .type = "metrics",
                       .message = fmt::format("Step {}/{}", step, steps),
                       .data_json = json{{"step", step}}.dump()});
  }
  journal.note("end");
  if (job.value("name", "") == "fails") return kUserMistake;
  if (rank == 0) {
    replace(run_directory / "result.json", {{"step", steps}});
    (*reporter)->finish(3s);
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count < 6) throw std::runtime_error("rank_double JOURNALS run JOB.json --output-dir RUN");
    return run(arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "rank_double: {}\n", error.what());
    return 1;
  }
}
