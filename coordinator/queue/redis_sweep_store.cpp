#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "coordinator/queue/job_hash.h"
#include "coordinator/queue/lua_scripts.h"
#include "coordinator/queue/redis_connection.h"
#include "coordinator/queue/redis_keys.h"
#include "coordinator/queue/redis_scripts.h"
#include "coordinator/queue/sweep_store.h"

namespace tunefleet::coordinator {
namespace {

using Words = RedisScripts::Words;

constexpr char kUnfinishedKey[] = "tf:sweeps_unfinished";
constexpr SweepPhase kPhases[] = {SweepPhase::kRunning, SweepPhase::kCancelling,
                                  SweepPhase::kSucceeded, SweepPhase::kFailed,
                                  SweepPhase::kCancelled};

std::string sweep_key(const std::string& id) { return job_key(id, "sweep"); }
std::string sweeps_key(const std::string& owner) { return owner_key(owner, "sweeps"); }

Result<SweepRecord> sweep_from(const redisReply& flat) {
  const HashFields stored = fields_of(flat);
  std::map<std::string, std::string> fields(stored.begin(), stored.end());
  const auto unreadable = [&](const char* field) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("stored sweep cannot be read: {}, {} = {}", fields["id"], field,
                            fields[field].substr(0, 80)));
  };
  SweepRecord sweep{.id = fields["id"], .owner = fields["owner"]};
  const auto phase = sweep_phase_from_name(fields["phase"]);
  if (!phase) return unreadable("phase");
  sweep.phase = *phase;
  for (auto [field, value] : {std::pair("created_at_ms", &sweep.created_at_ms),
                              std::pair("finished_at_ms", &sweep.finished_at_ms)}) {
    const std::string& text = fields[field];
    if (text.empty()) continue;
    if (std::from_chars(text.data(), text.data() + text.size(), *value).ec != std::errc())
      return unreadable(field);
  }
  for (auto [field, value] : {std::pair("plan", &sweep.plan), std::pair("trials", &sweep.trials),
                              std::pair("request", &sweep.request)}) {
    if (fields[field].empty()) continue;  // null
    *value = nlohmann::json::parse(fields[field], nullptr, false);
    if (value->is_discarded()) return unreadable(field);
  }
  return sweep;
}

/// SweepStore on Redis; see redis.md for the keys.
class RedisSweepStore : public SweepStore {
 public:
  explicit RedisSweepStore(RedisAddress address) : redis_(std::move(address)), scripts_(redis_) {}

  Result<SweepRecord> create(const SweepRecord& sweep) override {
    return after(lua::create_sweep,
                 {sweep_key(sweep.id), kAgesKey, sweeps_key(sweep.owner), kUnfinishedKey},
                 {sweep.id, sweep.owner, json_text(sweep.plan), json_text(sweep.trials),
                  json_text(sweep.request)});
  }

  Result<SweepRecord> get(const std::string& id) override {
    const auto reply = redis_.command({"HGETALL", sweep_key(id)});
    if (!reply) return fail(reply.error());
    if ((*reply)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**reply));
    if ((*reply)->elements == 0)
      return fail(ErrorCode::kNotFound, fmt::format("no such sweep: {}", id));
    return sweep_from(**reply);
  }

  Result<std::vector<SweepRecord>> list(const std::string& owner) override {
    auto sweeps = all_of(sweeps_key(owner));
    if (sweeps) std::ranges::reverse(*sweeps);
    return sweeps;
  }

  Result<std::vector<SweepRecord>> unfinished() override { return all_of(kUnfinishedKey); }

  Result<SweepRecord> move(const std::string& id, SweepPhase to) override {
    Words arguments{id, std::string(phase_name(to)), is_final(to) ? "1" : "0"};
    for (const SweepPhase from : kPhases) {
      if (is_transition(from, to)) arguments.emplace_back(phase_name(from));
    }
    return after(lua::move_sweep, {sweep_key(id), kUnfinishedKey}, arguments);
  }

 private:
  Result<SweepRecord> after(const char* script, const Words& keys, const Words& arguments) {
    const auto reply = scripts_.run(script, keys, arguments);
    if (!reply) return fail(reply.error());
    const auto answer = answer_of(**reply);
    if (!answer) return fail(answer.error());
    return sweep_from(**answer);
  }

  Result<std::vector<SweepRecord>> all_of(const std::string& index) {
    const auto ids = redis_.command({"ZRANGE", index, "0", "-1"});
    if (!ids) return fail(ids.error());
    if ((*ids)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**ids));
    std::vector<SweepRecord> sweeps;
    for (size_t i = 0; i < (*ids)->elements; ++i) {
      auto sweep = get(text_of(*(*ids)->element[i]));
      if (!sweep) return fail(sweep.error());
      sweeps.push_back(*std::move(sweep));
    }
    return sweeps;
  }

  RedisPool redis_;
  RedisScripts scripts_;
};

}  // namespace

Result<std::unique_ptr<SweepStore>> open_redis_sweep_store(const std::string& url) {
  auto address = parse_redis_url(url);
  if (!address) return fail(address.error());
  return std::make_unique<RedisSweepStore>(std::move(*address));
}

}  // namespace tunefleet::coordinator
