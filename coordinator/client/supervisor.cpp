#include "coordinator/client/supervisor.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "coordinator/api/private_directory.h"
#include "coordinator/client/sibling_command.h"
#include "coordinator/client/stop_signal.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{200};
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{10'000};
constexpr milliseconds kStableAfter{
    30'000};  // A child that lived this long starts over with a short pause.
constexpr milliseconds kAgentHello{3'000};
constexpr milliseconds kAgentGrace{20'000};  // Its ranks may save a checkpoint.
constexpr milliseconds kRedisGrace{5'000};

}  // namespace

Result<std::unique_ptr<Supervisor>> Supervisor::start(const UpOptions& options) {
  const auto begun = Clock::now();
  std::unique_ptr<Supervisor> supervisor(new Supervisor(options));
  if (const auto opened = supervisor->open(); !opened) return fail(opened.error());
  supervisor->start_time_ = std::chrono::duration_cast<milliseconds>(Clock::now() - begun);
  return supervisor;
}

Supervisor::~Supervisor() { stop(); }

Status Supervisor::open() {
  CoordinatorOptions& wanted = options_.coordinator;
  wanted.data = std::filesystem::absolute(wanted.data).lexically_normal();
  if (wanted.models.empty()) wanted.models = wanted.data / "models";
  auto program = sibling_program("tunefleet-agent");
  if (!program) return fail(program.error());
  if (const auto made = make_private_directory(wanted.data); !made) return made;
  auto lock = DataLock::take(wanted.data);
  if (!lock) return fail(lock.error());
  lock_ = std::make_unique<DataLock>(std::move(*lock));
  if (wanted.redis.empty()) {
    auto redis = PrivateRedis::create(wanted.data);
    if (!redis) return fail(redis.error());
    redis_ = std::move(*redis);
    if (const auto started = redis_->start(); !started) return started;
    wanted.redis = redis_->url();
  }
  auto coordinator = CoordinatorService::start(wanted);
  if (!coordinator) return fail(coordinator.error());
  coordinator_ = std::move(*coordinator);
  if (const auto started = start_agent(*program); !started) return started;
  if (redis_)
    watched_.push_back({&redis_->process(), [this] { return redis_->start(); }, Clock::now()});
  watched_.push_back({agent_.get(), [this] { return agent_->start(); }, Clock::now()});
  if (const auto reported = wait_for_agent(); !reported) return reported;
  return coordinator_->announce();
}

Status Supervisor::start_agent(const std::filesystem::path& program) {
  const auto& data = options_.coordinator.data;
  ChildSpec spec{
      .name = "tunefleet-agent",
      .arguments = {program.string(), "run", "--coordinator", coordinator_->fleet().endpoint(),
                    "--curve", (data / "keys" / "node.json").string(), "--slots",
                    std::to_string(options_.slots)},
      .log = data / "agent.log"};
  if (const char* trainer = std::getenv("TUNEFLEET_TRAINER");
      trainer != nullptr && *trainer != '\0') {
    spec.arguments.insert(spec.arguments.end(), {"--trainer", trainer});
  }
  agent_ = std::make_unique<ChildProcess>(std::move(spec));
  return agent_->start();
}

/// Its first beat comes at once. One that ends instead lacks something that starting it again would
/// not mend.
Status Supervisor::wait_for_agent() {
  const auto deadline = Clock::now() + kAgentHello;
  while (Clock::now() < deadline) {
    for (const AgentView& agent : coordinator_->fleet().agents()) {
      if (agent.alive) return {};
    }
    if (const auto end = agent_->poll_end()) {
      return fail(ErrorCode::kInternal,
                  fmt::format("tunefleet-agent {}; its log ends:\n{}", *end, agent_->log_tail()));
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
  log::warning(fmt::format("the agent has not reported yet, jobs wait until it does; its log: {}",
                           agent_->spec().log.string()));
  return {};
}

std::string Supervisor::summary() const {
  const CoordinatorOptions& wanted = options_.coordinator;
  std::string models;
  if (const auto list = coordinator_->models().list(); list) {
    for (const auto& model : *list)
      models += fmt::format("{}{}", models.empty() ? "" : ", ", model.name);
  }
  if (models.empty()) models = "none yet, bring one with `tunefleet models import`";
  const std::string url = coordinator_->url();
  const std::string key = coordinator_->key_file().string();
  const std::string data = wanted.data == std::filesystem::absolute(".tunefleet").lexically_normal()
                               ? ""
                               : fmt::format(" --data {}", wanted.data.string());
  return fmt::format(
      "tunefleet is up ({:.1f} s)\n"
      "  API      {}/v1\n"
      "  key      {}\n"
      "  models   {} ({})\n"
      "  slots    {} on this machine\n"
      "  data     {}\n"
      "Submit a job        tunefleet submit job.yaml --watch{}\n"
      "OpenAI's clients    OPENAI_BASE_URL={}/v1 OPENAI_API_KEY=$(cat {})\n"
      "Stop                Ctrl-C, or tunefleet down{}\n",
      static_cast<double>(start_time_.count()) / 1000.0, url, key, models, wanted.models.string(),
      options_.slots, wanted.data.string(), data, url, key, data);
}

void Supervisor::run() {
  for (;;) {
    if (is_stop_signal(wait_for_signal(kLook))) return;
    for (Watched& child : watched_) watch(child);
  }
}

void Supervisor::watch(Watched& child) {
  const auto now = Clock::now();
  const std::string& name = child.process->spec().name;
  if (const auto end = child.process->poll_end()) {
    const bool was_stable = now - child.started > kStableAfter;
    child.pause = was_stable || child.pause.count() == 0 ? kFirstPause
                                                         : std::min(child.pause * 2, kLongestPause);
    child.restart_at = now + child.pause;
    log::warning(fmt::format("{} {}, starting it again in {} ms; its log: {}", name, *end,
                             child.pause.count(), child.process->spec().log.string()));
  }
  if (child.process->running() || now < child.restart_at) return;
  child.started = now;
  if (const auto started = child.start(); started) {
    log::info(fmt::format("{} runs again, process {}", name, child.process->pid()));
    return;
  } else {
    child.pause = std::clamp(child.pause * 2, kFirstPause, kLongestPause);
    child.restart_at = Clock::now() + child.pause;
    log::error(fmt::format("{} cannot be started, next try in {} ms: {}", name, child.pause.count(),
                           started.error().message));
  }
}

void Supervisor::stop() {
  watched_.clear();
  if (coordinator_) coordinator_->forget();
  // Before the agent: that its ranks end is our doing, and is not to be told as their failure.
  if (coordinator_) coordinator_->stop();
  if (agent_) {
    end_child(*agent_, kAgentGrace);
    coordinator_->settle_interrupted();
  }
  if (redis_) end_child(redis_->process(), kRedisGrace);
  coordinator_.reset();
  agent_.reset();
}

void Supervisor::end_child(ChildProcess& child, milliseconds limit) {
  child.signal(SIGTERM);
  const auto deadline = Clock::now() + limit;
  while (child.running() && !hurry_ && Clock::now() < deadline) {
    if (child.poll_end()) return;
    if (is_stop_signal(wait_for_signal(milliseconds(20)))) hurry_ = true;
  }
  child.wait_or_kill(milliseconds(0));
}

}  // namespace tunefleet::coordinator
