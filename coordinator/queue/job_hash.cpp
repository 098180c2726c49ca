#include "coordinator/queue/job_hash.h"

#include <fmt/format.h>

#include <charconv>

#include "coordinator/queue/job_rules.h"

namespace tunefleet::coordinator {
namespace {

/// Takes fields out of a hash and remembers the first that cannot be read.
class FieldReader {
 public:
  explicit FieldReader(const HashFields& fields) : fields_(fields) {}

  std::string text(const std::string& name) const {
    const auto found = fields_.find(name);
    return found == fields_.end() ? std::string() : found->second;
  }

  /// Absent or empty is 0.
  int64_t number(const std::string& name) {
    const std::string value = text(name);
    if (value.empty()) return 0;
    int64_t number = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, number);
    if (error != std::errc() || stop != end) note(name, value);
    return number;
  }

  /// Absent or empty is null.
  nlohmann::json json(const std::string& name) {
    const std::string value = text(name);
    if (value.empty()) return nullptr;
    auto parsed = nlohmann::json::parse(value, nullptr, false);
    if (!parsed.is_discarded()) return parsed;
    note(name, value);
    return nullptr;
  }

  void note(const std::string& name, const std::string& value) {
    if (problem_.empty()) problem_ = fmt::format("{} = {}", name, value.substr(0, 80));
  }
  const std::string& problem() const { return problem_; }

 private:
  const HashFields& fields_;
  std::string problem_;
};

}  // namespace

Result<JobRecord> job_from_hash(const HashFields& fields) {
  FieldReader reader(fields);
  JobRecord job;
  job.id = reader.text("id");
  job.owner = reader.text("owner");
  if (const auto phase = phase_from_name(reader.text("phase"))) {
    job.phase = *phase;
  } else {
    reader.note("phase", reader.text("phase"));
  }
  job.attempt = reader.number("attempt");
  job.priority = reader.number("priority");
  job.workers = reader.number("workers");
  job.agent = reader.text("agent");
  job.cancel_requested = reader.number("cancel_requested") != 0;
  job.created_at_ms = reader.number("created_at_ms");
  job.started_at_ms = reader.number("started_at_ms");
  job.finished_at_ms = reader.number("finished_at_ms");
  job.spec = reader.json("spec");
  job.request = reader.json("request");
  if (const auto code = reader.text("error_code"); !code.empty()) {
    job.error = Error{error_code_from_name(code), reader.text("error_message")};
  }
  job.failure = reader.json("failure");
  job.result = reader.json("result");
  job.progress = reader.json("progress");
  if (reader.problem().empty()) return job;
  return fail(ErrorCode::kDataLoss,
              fmt::format("stored job cannot be read: {}, {}", job.id, reader.problem()));
}

Result<JobEventRecord> event_from_hash(const std::string& job, int64_t number,
                                       const HashFields& fields) {
  FieldReader reader(fields);
  JobEventRecord event;
  event.id = event_id(job, number);
  event.number = number;
  event.level = reader.text("level");
  event.type = reader.text("type");
  event.message = reader.text("message");
  event.data = reader.json("data");
  event.created_at_ms = reader.number("created_at_ms");
  if (reader.problem().empty()) return event;
  return fail(ErrorCode::kDataLoss,
              fmt::format("stored event cannot be read: {}, {}", event.id, reader.problem()));
}

std::string json_text(const nlohmann::json& value) {
  if (value.is_null()) return "";
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace tunefleet::coordinator
