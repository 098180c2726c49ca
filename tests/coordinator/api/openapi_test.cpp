#include <algorithm>
#include <set>

#include "coordinator/api/openapi_document.h"
#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

class OpenApiTest : public ApiTest {
 protected:
  json document() {
    httplib::Client stranger("127.0.0.1", server_->port());
    return body_of(stranger.Get("/openapi.json"));
  }
  /// What `required` of the schema misses in `value`.
  static std::string missing(const std::string& schema, const json& value) {
    std::string names;
    for (const json& name : openapi_schemas().at(schema).value("required", json::array())) {
      if (!value.contains(name.get<std::string>())) names += " " + name.get<std::string>();
    }
    return names;
  }
};

TEST_F(OpenApiTest, TellsOfEveryRouteAndOfNoOther) {
  std::set<std::string> registered;
  for (const Route* route : server_->routes()) {
    std::string method(route->method);
    std::transform(method.begin(), method.end(), method.begin(), ::tolower);
    registered.insert(method + " " + std::string(route->pattern));
  }
  std::set<std::string> described;
  const json shown = document();
  for (const auto& [path, operations] : shown.at("paths").items()) {
    for (const auto& [method, operation] : operations.items()) {
      described.insert(method + " " + path);
    }
  }
  EXPECT_EQ(described, registered);
}

TEST_F(OpenApiTest, SaysWhatEachRouteDoesTakesAndNeeds) {
  std::set<std::string> ids;
  for (const Route* route : server_->routes()) {
    const std::string where = std::string(route->method) + " " + std::string(route->pattern);
    EXPECT_FALSE(route->doc.summary.empty()) << where;
    EXPECT_FALSE(route->doc.summary.ends_with('.')) << where;
    for (const auto name : {route->doc.reply, route->doc.request}) {
      EXPECT_TRUE(name.empty() || openapi_schemas().contains(std::string(name)))
          << where << ": " << name;
    }
    EXPECT_TRUE(!route->doc.reply.empty() || route->doc.reply_type != "application/json") << where;
  }
  const json shown = document();
  for (const auto& [path, operations] : shown.at("paths").items()) {
    for (const auto& [method, operation] : operations.items()) {
      EXPECT_TRUE(ids.insert(operation.at("operationId")).second) << path;
      EXPECT_EQ(operation.at("security").empty(), !operation.contains("x-scope")) << path;
    }
  }
}

TEST_F(OpenApiTest, RefersOnlyToSchemasThatAreThere) {
  const json shown = document();
  const std::string text = shown.dump();
  const std::string prefix = "#/components/schemas/";
  size_t references = 0;
  for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at + 1)) {
    const size_t begin = at + prefix.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    EXPECT_TRUE(shown["components"]["schemas"].contains(name)) << name;
    ++references;
  }
  EXPECT_GT(references, 20);
}

TEST_F(OpenApiTest, RepliesHoldWhatTheSchemasPromise) {
  const std::string id = waiting_job();
  start(id);
  add_event(id, "checkpoint", "saved", {{"step", 7}, {"path", "/x"}});
  finish(id);
  const std::string job = "/v1/fine_tuning/jobs/" + id;
  EXPECT_EQ(missing("Job", body_of(client().Get(job))), "");
  EXPECT_EQ(missing("Event", body_of(client().Get(job + "/events"))["data"][0]), "");
  EXPECT_EQ(missing("Checkpoint", body_of(client().Get(job + "/checkpoints"))["data"][0]), "");
  EXPECT_EQ(missing("File", body_of(client().Get("/v1/files"))["data"][0]), "");
  EXPECT_EQ(missing("Model", body_of(client().Get("/v1/models"))["data"][2]), "");
  EXPECT_EQ(missing("Key", body_of(client().Get("/v1/keys"))["data"][0]), "");
  EXPECT_EQ(missing("Fleet", body_of(client().Get("/v1/fleet"))), "");
  EXPECT_EQ(missing("JobPage", body_of(client().Get("/v1/fine_tuning/jobs"))), "");
  EXPECT_NE(missing("Job", json::object()), "");
}

}  // namespace
}  // namespace tunefleet::coordinator
