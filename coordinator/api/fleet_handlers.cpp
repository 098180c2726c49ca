#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/json_body.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

/// Says nothing about the service but whether it can work: it needs no key.
ApiReply get_health(const ApiContext& context, HttpRequest&) {
  if (const auto answered = context.jobs.ping(); !answered) {
    return api_fail(to_api_error({ErrorCode::kUnavailable, "the job store does not answer"}));
  }
  return json_reply({{"status", "ok"}});
}

/// The agents; of the jobs on them only the caller's.
ApiReply get_fleet(const ApiContext& context, HttpRequest& request) {
  json agents = json::array();
  for (const AgentView& agent : context.fleet.agents()) {
    json jobs = json::array();
    for (const std::string& id : agent.jobs) {
      const auto job = context.jobs.get(id);
      if (job && job->owner == request.owner) jobs.push_back(id);
    }
    agents.push_back({{"host", agent.host},
                      {"slots", agent.slots},
                      {"free_slots", agent.free_slots},
                      {"cuda", agent.cuda},
                      {"alive", agent.alive},
                      {"jobs", jobs}});
  }
  const auto queued = context.jobs.queued();
  if (!queued) return api_fail(to_api_error(queued.error()));
  return json_reply({{"object", "fleet"}, {"agents", agents}, {"queued", queued->size()}});
}

}  // namespace

std::vector<Route> fleet_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {{"GET",
           "/healthz",
           bind(get_health),
           Scope::kNone,
           {.summary = "Tells whether the service can work", .reply = "Health"}},
          {"GET",
           "/v1/fleet",
           bind(get_fleet),
           Scope::kRead,
           {.summary = "Lists the agents, and your jobs on them", .reply = "Fleet"}}};
}

}  // namespace tunefleet::coordinator
