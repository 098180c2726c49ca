#include "worker/agent/end_reports.h"

#include <utility>

#include "proto/log.h"

namespace tunefleet::agent {
namespace {

constexpr int64_t kResendMs = 1'000;

/// The same fields under the same names, for gang.json.
nlohmann::json to_json(const wire::GangEnded& ended) {
  nlohmann::json object{{"succeeded", ended.succeeded()}, {"result_json", ended.result_json()}};
  if (ended.has_failure()) {
    object["failure"] = {{"rank", ended.failure().rank()},
                         {"host", ended.failure().host()},
                         {"code", ended.failure().code()},
                         {"message", ended.failure().message()}};
  }
  return object;
}

std::optional<Failure> failure_from(const nlohmann::json& ended) {
  if (ended.value("succeeded", false)) return std::nullopt;
  const auto failure = ended.value("failure", nlohmann::json::object());
  return Failure{.rank = failure.value("rank", -1),
                 .host = failure.value("host", ""),
                 .code = failure.value("code", "internal"),
                 .message = failure.value("message", "")};
}

wire::GangEnded message_of(const GangOrder& order, const std::optional<Failure>& failure,
                           const std::string& result_json) {
  wire::GangEnded ended;
  ended.set_job(order.job);
  ended.set_attempt(static_cast<uint64_t>(order.attempt));
  ended.set_succeeded(!failure);
  ended.set_result_json(result_json);
  if (failure) {
    ended.mutable_failure()->set_rank(failure->rank);
    ended.mutable_failure()->set_host(valid_utf8(failure->host));
    ended.mutable_failure()->set_code(valid_utf8(failure->code));
    ended.mutable_failure()->set_message(valid_utf8(failure->message));
  }
  return ended;
}

}  // namespace

void EndReports::add(const GangOrder& order, const std::optional<Failure>& failure,
                     const std::string& result_json) {
  Waiting entry{.ended = message_of(order, failure, result_json)};
  if (!order.run_directory.empty()) {
    const auto written =
        write_gang_note(order.run_directory,
                        {.attempt = order.attempt, .host = host_, .ended = to_json(entry.ended)});
    if (!written) log::warning("the end of a gang is not on disk: " + written.error().message);
  }
  waiting_[{order.job, order.attempt}] = std::move(entry);
}

void EndReports::repeat(const GangOrder& order, const nlohmann::json& ended) {
  add(order, failure_from(ended), ended.value("result_json", ""));
}

void EndReports::send(CoordinatorLink& link, int64_t now_ms) {
  for (auto& [gang, entry] : waiting_) {
    if (entry.sent_ms != 0 && now_ms - entry.sent_ms < kResendMs) continue;
    wire::Envelope envelope;
    *envelope.mutable_gang_ended() = entry.ended;
    entry.sequence = link.send(std::move(envelope));
    entry.sent_ms = now_ms;
  }
}

void EndReports::acknowledged(uint64_t sequence) {
  std::erase_if(waiting_, [&](const auto& entry) { return entry.second.sequence == sequence; });
}

}  // namespace tunefleet::agent
