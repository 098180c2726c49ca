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

  std::string text(std::string_view name) const { return std::string(view(name)); }

  /// Absent or empty is 0.
  int64_t number(std::string_view name) {
    const std::string_view value = view(name);
    if (value.empty()) return 0;
    int64_t number = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, number);
    if (error != std::errc() || stop != end) note(name, value);
    return number;
  }

  /// Absent or empty is null.
  nlohmann::json json(std::string_view name) {
    const std::string_view value = view(name);
    if (value.empty()) return nullptr;
    auto parsed = nlohmann::json::parse(value, nullptr, false);
    if (!parsed.is_discarded()) return parsed;
    note(name, value);
    return nullptr;
  }

  /// A list of texts; absent is none.
  std::vector<std::string> texts(std::string_view name) {
    std::vector<std::string> list;
    const nlohmann::json value = json(name);
    for (const auto& item : value) {
      if (item.is_string()) list.push_back(item.get<std::string>());
    }
    if (!value.is_null() && list.size() != value.size()) note(name, view(name));
    return list;
  }

  /// What was made of the field, or a default and a note.
  template <typename T>
  T checked(std::string_view name, Result<T> value) {
    if (value) return *std::move(value);
    note(name, view(name));
    return T{};
  }

  void note(std::string_view name, std::string_view value) {
    if (problem_.empty()) problem_ = fmt::format("{} = {}", name, value.substr(0, 80));
  }
  const std::string& problem() const { return problem_; }

 private:
  std::string_view view(std::string_view name) const {
    const auto found = fields_.find(name);
    return found == fields_.end() ? std::string_view() : found->second;
  }

  const HashFields& fields_;
  std::string problem_;
};

/// The words of the field `state`, in prelude.lua's order.
constexpr std::string_view kStateWords[] = {
    "phase",     "attempt",       "stop",         "workers",       "sequence",
    "priority",  "created_at_ms", "queued_at_ms", "started_at_ms", "finished_at_ms",
    "device_ms", "placement",     "calls"};

/// Adds each word of `state` as if it were a field; whether all are there.
bool add_state_words(HashFields& fields) {
  std::string_view rest = fields["state"];
  for (const std::string_view name : kStateWords) {
    const size_t end = rest.find('\t');
    if ((end == std::string_view::npos) != (name == "calls")) return false;
    fields[name] = rest.substr(0, end);
    if (end != std::string_view::npos) rest.remove_prefix(end + 1);
  }
  return true;
}

}  // namespace

Result<JobRecord> job_from_hash(const HashFields& stored) {
  HashFields fields = stored;
  const bool whole = add_state_words(fields);
  FieldReader reader(fields);
  JobRecord job;
  nlohmann::json given = reader.json("given");
  if (!whole) reader.note("state", fields["state"]);
  try {
    job.id = given.at("id").get<std::string>();
    job.owner = given.at("owner").get<std::string>();
    job.group = given.at("group").get<std::string>();
    job.min_workers = given.at("min_workers").get<int64_t>();
    job.max_workers = given.at("max_workers").get<int64_t>();
    job.spec = std::move(given.at("spec"));
    job.request = std::move(given.at("request"));
  } catch (const nlohmann::json::exception&) {
    reader.note("given", fields["given"]);
  }
  job.phase = reader.checked("phase", phase_from_name(reader.text("phase")));
  job.attempt = reader.number("attempt");
  job.priority = reader.number("priority");
  job.workers = reader.number("workers");
  job.placement = reader.checked("placement", placement_from_json(reader.json("placement")));
  job.stop = reader.checked("stop", stop_reason_from_name(reader.text("stop")));
  job.not_before_ms = reader.number("not_before_ms");
  job.excluded_hosts = reader.texts("excluded_hosts");
  job.failures = {.infrastructure = reader.number("failures_infrastructure"),
                  .node = reader.number("failures_node"),
                  .memory = reader.number("failures_memory"),
                  .since_ms = reader.number("failures_since_ms")};
  job.half_batch = reader.number("half_batch") != 0;
  job.device_ms = reader.number("device_ms");
  job.created_at_ms = reader.number("created_at_ms");
  job.queued_at_ms = reader.number("queued_at_ms");
  job.started_at_ms = reader.number("started_at_ms");
  job.finished_at_ms = reader.number("finished_at_ms");
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

/// Put together as text: a specification may be long, and need not be copied.
std::string given_text(const JobRecord& job) {
  const auto text = [](const nlohmann::json& value) {
    return value.is_null() ? "null" : json_text(value);
  };
  return fmt::format(
      R"({{"id":{},"owner":{},"group":{},"min_workers":{},"max_workers":{},"spec":{},"request":{}}})",
      text(job.id), text(job.owner), text(job.group), job.min_workers, job.max_workers,
      text(job.spec), text(job.request));
}

std::vector<std::pair<std::string, std::string>> changed_fields(const TransitionChange& change) {
  std::vector<std::pair<std::string, std::string>> fields;
  const auto set_number = [&fields](const char* name, const auto& value) {
    if (value) fields.emplace_back(name, std::to_string(static_cast<int64_t>(*value)));
  };
  const auto set_json = [&fields](const char* name, const auto& value) {
    if (value) fields.emplace_back(name, json_text(*value));
  };
  set_number("not_before_ms", change.not_before_ms);
  set_number("half_batch", change.half_batch);
  set_json("failure", change.failure);
  set_json("result", change.result);
  if (change.excluded_hosts) {
    fields.emplace_back("excluded_hosts", json_text(nlohmann::json(*change.excluded_hosts)));
  }
  if (change.failures) {
    fields.emplace_back("failures_infrastructure", std::to_string(change.failures->infrastructure));
    fields.emplace_back("failures_node", std::to_string(change.failures->node));
    fields.emplace_back("failures_memory", std::to_string(change.failures->memory));
    fields.emplace_back("failures_since_ms", std::to_string(change.failures->since_ms));
  }
  if (change.error) {
    fields.emplace_back("error_code", error_code_name(change.error->code));
    fields.emplace_back("error_message", change.error->message);
  }
  return fields;
}

Result<Leadership> leadership_from_hash(const HashFields& fields) {
  FieldReader reader(fields);
  const Leadership leadership{.generation = reader.number("generation"),
                              .until_ms = reader.number("until_ms")};
  if (reader.problem().empty()) return leadership;
  return fail(ErrorCode::kDataLoss,
              fmt::format("stored leadership cannot be read: {}", reader.problem()));
}

std::string event_text(std::string_view level, std::string_view type, std::string_view message,
                       const nlohmann::json& data) {
  nlohmann::json event{{"level", level}, {"type", type}, {"message", message}};
  if (!data.is_null()) event["data"] = data;
  return json_text(event);
}

Result<JobEventRecord> event_from_entry(const std::string& job, int64_t number,
                                        std::string_view entry) {
  JobEventRecord event{.id = event_id(job, number), .number = number};
  const auto [rest, error] =
      std::from_chars(entry.data(), entry.data() + entry.size(), event.created_at_ms);
  nlohmann::json fields = nlohmann::json::parse(rest, entry.data() + entry.size(), nullptr, false);
  try {
    event.level = fields.at("level").get<std::string>();
    event.type = fields.at("type").get<std::string>();
    event.message = fields.at("message").get<std::string>();
    if (fields.contains("data")) event.data = std::move(fields["data"]);
    if (error == std::errc()) return event;
  } catch (const nlohmann::json::exception&) {  // Told below.
  }
  return fail(ErrorCode::kDataLoss,
              fmt::format("stored event cannot be read: {}, {}", event.id, entry.substr(0, 80)));
}

std::string json_text(const nlohmann::json& value) {
  if (value.is_null()) return "";
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace tunefleet::coordinator
