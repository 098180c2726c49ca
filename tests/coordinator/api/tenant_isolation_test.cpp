#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

/// What one tenant must not see of another, over the table of routes: a new route is covered when
/// its ids are among those of `ids_of_admin`.
class TenantIsolationTest : public ApiTest {
 protected:
  /// Makes one thing of each kind that has an id, all of the tenant admin: for the routes of this
  /// pattern, or for all.
  std::vector<std::string> ids_of_admin(std::string_view route = "") {
    const std::string job = waiting_job({{"suffix", "mine"}});
    start(job);
    add_event(job, "checkpoint", "saved", {{"step", 7}, {"path", "/x"}});
    finish(job);
    std::ofstream(directory_.path() / "jobs" / job / "ranks.log") << "said by admin's ranks\n";
    const json shown = body_of(client().Get("/v1/fine_tuning/jobs/" + job));
    const std::string model = shown["fine_tuned_model"];
    const json permissions =
        body_of(client().Post("/v1/fine_tuning/checkpoints/" + model + "/permissions",
                              "{\"project_ids\":[\"third\"]}", "application/json"));
    const json key =
        body_of(client().Post("/v1/keys", "{\"scopes\":[\"read\"]}", "application/json"));
    std::vector<std::string> ids{
        job,
        waiting_job(),
        shown["training_file"],
        good_file(),
        model,
        model + ":ckpt-step-7",
        permissions["data"][0]["id"],
        key["id"],
        body_of(client().Get("/v1/fine_tuning/jobs/" + job + "/events"))["data"][0]["id"]};
    // A tenant may have few of these at once.
    if (route.empty() || route.starts_with("/v1/uploads")) {
      ids.push_back(made("/v1/uploads", {{"filename", "rows.jsonl"},
                                         {"purpose", "fine-tune"},
                                         {"bytes", 10},
                                         {"mime_type", "application/jsonl"}}));
    }
    if (route.empty() || route.starts_with("/v1/webhook_endpoints")) {
      ids.push_back(made("/v1/webhook_endpoints",
                         {{"name", "mine"},
                          {"url", "https://hooks.example/path"},
                          {"event_types", json::array({"fine_tuning.job.succeeded"})}}));
    }
    if (route.empty() || route.starts_with("/v1/fine_tuning/sweeps")) {
      const json sweep = {{"parameters", {{"lora_rank", {4, 8}}}}, {"metric", "loss"}};
      ids.push_back(made("/v1/fine_tuning/sweeps", {{"model", "Qwen2.5-0.5B"},
                                                    {"training_file", shown["training_file"]},
                                                    {"sweep", sweep}}));
    }
    return ids;
  }

  /// The id of what a POST of `body` makes.
  std::string made(const char* path, const json& body) {
    return body_of(client().Post(path, body.dump(), "application/json")).at("id");
  }

  static bool has_variable(const Route& route) {
    return route.pattern.find('{') != std::string_view::npos;
  }

  /// The pattern with every combination of `ids` in the place of its variables.
  static std::vector<std::string> paths_of(const std::string& pattern,
                                           const std::vector<std::string>& ids) {
    const size_t open = pattern.find('{');
    if (open == std::string::npos) return {pattern};
    std::vector<std::string> paths;
    for (const std::string& id : ids) {
      std::string filled = pattern;
      filled.replace(open, pattern.find('}') - open + 1, id);
      for (auto& path : paths_of(filled, ids)) paths.push_back(std::move(path));
    }
    return paths;
  }

  httplib::Result ask(const std::string& key, const Route& route, const std::string& path) {
    httplib::Request request;
    request.method = route.method;
    request.path = path;
    request.body = R"({"project_ids":["fourth"],"part_ids":["part_x"],)"
                   R"("event_type":"fine_tuning.job.succeeded"})";
    request.set_header("Content-Type", "application/json");
    return client(key).send(request);
  }
};

TEST_F(TenantIsolationTest, IdsOfAnotherTenantAreUnknownOnEveryRoute) {
  const std::string stranger = key_of("stranger", Scope::kAdmin);
  for (const Route* route : server_->routes()) {
    if (!has_variable(*route)) continue;
    const auto paths = paths_of(std::string(route->pattern), ids_of_admin(route->pattern));
    for (const std::string& path : paths) {
      const auto reply = ask(stranger, *route, path);
      ASSERT_TRUE(reply) << path;
      EXPECT_EQ(reply->status, 404) << route->method << " " << path << "\n" << reply->body;
      EXPECT_EQ(reply->body.find("admin's"), std::string::npos);
    }
    bool known = false;
    for (const std::string& path : paths) {
      known = known || ask(key_, *route, path)->status != 404;
    }
    EXPECT_TRUE(known) << "no id of ids_of_admin() is one of this route's: " << route->method << " "
                       << route->pattern;
  }
}

TEST_F(TenantIsolationTest, ListsShowNothingOfAnotherTenant) {
  const auto ids = ids_of_admin();
  const std::string stranger = key_of("stranger", Scope::kAdmin);
  fleet_.view[0].jobs = {ids[0], ids[1]};
  for (const Route* route : server_->routes()) {
    if (route->method != "GET" || has_variable(*route)) continue;
    const auto reply = ask(stranger, *route, std::string(route->pattern));
    ASSERT_TRUE(reply) << route->pattern;
    EXPECT_EQ(reply->status, 200) << route->pattern;
    for (const std::string& id : ids) {
      EXPECT_EQ(reply->body.find(id), std::string::npos) << route->pattern << " tells " << id;
    }
  }
}

TEST_F(TenantIsolationTest, PagesBehindAnIdOfAnotherTenantTellNothing) {
  const auto ids = ids_of_admin();
  const std::string stranger = key_of("stranger", Scope::kAdmin);
  for (const Route* route : server_->routes()) {
    if (route->method != "GET" || has_variable(*route)) continue;
    const std::string list = std::string(route->pattern) + "?after=";
    const auto unknown = ask(stranger, *route, list + "unknown");
    for (const std::string& id : ids) {
      const auto reply = ask(stranger, *route, list + id);
      EXPECT_EQ(reply->status, unknown->status) << list << id;
    }
  }
}

TEST_F(TenantIsolationTest, IdempotencyKeysOfTwoTenantsAreNotTheSame) {
  const auto make = [&](const std::string& key, const httplib::Headers& headers) {
    auto tenant = client(key);
    const json file = body_of(tenant.Post(
        "/v1/files", httplib::MultipartFormDataItems{
                         {"purpose", "fine-tune", "", ""},
                         {"file", "{\"query\":\"a\",\"response\":\"b\"}\n", "a.jsonl", ""}}));
    const json body{{"model", "Qwen2.5-0.5B"}, {"training_file", file["id"]}};
    return body_of(
        tenant.Post("/v1/fine_tuning/jobs", headers, body.dump(), "application/json"))["id"];
  };
  const httplib::Headers once{{"Idempotency-Key", "once"}};
  const json mine = make(key_, once);
  const json theirs = make(other_key_, once);
  EXPECT_TRUE(mine.is_string() && theirs.is_string());
  EXPECT_NE(mine, theirs);
}

TEST_F(TenantIsolationTest, ARetryFindsNoJobOfAnotherTenant) {
  const json body{{"model", "Qwen2.5-0.5B"}, {"training_file", good_file()}};
  body_of(create(body));
  const auto retried = client(other_key_)
                           .Post("/v1/fine_tuning/jobs", {{"x-stainless-retry-count", "1"}},
                                 body.dump(), "application/json");
  EXPECT_EQ(error_of(retried, 400)["param"], "training_file");
}

TEST_F(TenantIsolationTest, KeysOfOneTenantWorkOnTheSameThings) {
  const std::string id = waiting_job();
  EXPECT_EQ(body_of(client(key_of("admin", Scope::kRead)).Get("/v1/fine_tuning/jobs/" + id))["id"],
            id);
}

}  // namespace
}  // namespace tunefleet::coordinator
