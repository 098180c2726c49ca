#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "tests/coordinator/api/api_fixture.h"
#include "tests/coordinator/outbound/receiver.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kJson = "application/json";
constexpr const char* kPath = "/v1/webhook_endpoints";

class WebhooksApiTest : public ApiTest {
 protected:
  httplib::Result make(const json& more = json::object()) {
    json body{{"name", "mine"},
              {"url", "https://hooks.example/path"},
              {"event_types", json::array({"fine_tuning.job.succeeded"})}};
    body.update(more);
    return client().Post(kPath, body.dump(), kJson);
  }
  static std::string at(const std::string& id, const std::string& action = "") {
    return std::string(kPath) + "/" + id + action;
  }
};

TEST_F(WebhooksApiTest, ShowsTheSecretOnlyWhenItIsNew) {
  const json made = body_of(make());
  EXPECT_EQ(made["object"], "webhook_endpoint");
  EXPECT_THAT(made["signing_secret"].get<std::string>(), testing::StartsWith("whsec_"));
  const std::string id = made["id"];
  json shown = made;
  shown.erase("signing_secret");
  EXPECT_EQ(body_of(client().Get(at(id))), shown);
  EXPECT_EQ(body_of(client().Get(kPath))["data"], json::array({shown}));
  const json renamed = body_of(client().Post(at(id), R"({"name":"new"})", kJson));
  EXPECT_EQ(renamed["name"], "new");
  EXPECT_FALSE(renamed.contains("signing_secret"));
  const json rotated = body_of(client().Post(
      at(id, "/rotate_secret"), R"({"keep_old_secret_active_for_24_hours":true})", kJson));
  EXPECT_NE(rotated["signing_secret"], made["signing_secret"]);
  EXPECT_EQ(body_of(client().Post(at(id, "/rotate_secret"), "", kJson))["id"], id);
  EXPECT_EQ(body_of(client().Delete(at(id))),
            json({{"id", id}, {"object", "webhook_endpoint.deleted"}, {"deleted", true}}));
  error_of(client().Get(at(id)), 404);
}

TEST_F(WebhooksApiTest, IsHiddenFromOthers) {
  const std::string id = body_of(make())["id"];
  auto other = client(other_key_);
  error_of(other.Get(at(id)), 404);
  error_of(other.Delete(at(id)), 404);
  error_of(other.Post(at(id), R"({"name":"x"})", kJson), 404);
  error_of(other.Post(at(id, "/rotate_secret"), "", kJson), 404);
  error_of(other.Post(at(id, "/test"), R"({"event_type":"fine_tuning.job.failed"})", kJson), 404);
  EXPECT_TRUE(body_of(other.Get(kPath))["data"].empty());
}

TEST_F(WebhooksApiTest, RefusesAddressesThatMayNotBeCalled) {
  for (const char* url :
       {"http://hooks.example/", "https://10.0.0.1/", "https://169.254.169.254/latest/",
        "https://[fd00:ec2::254]/", "https://[::ffff:10.0.0.1]/", "https://2130706433/",
        "https://0x7f.1/", "https://user@hooks.example/", "https://hooks.example:6379/",
        "file:///etc/passwd", "not a url"}) {
    EXPECT_EQ(error_of(make({{"url", url}}), 400)["param"], "url") << url;
  }
  const std::string id = body_of(make())["id"];
  error_of(client().Post(at(id), R"({"url":"https://192.168.0.1/"})", kJson), 400);
}

TEST_F(WebhooksApiTest, RefusesWrongFields) {
  EXPECT_EQ(error_of(make({{"name", nullptr}}), 400)["param"], "name");
  EXPECT_EQ(error_of(make({{"name", std::string(257, 'a')}}), 400)["param"], "name");
  EXPECT_EQ(error_of(make({{"event_types", json::array()}}), 400)["param"], "event_types");
  EXPECT_THAT(error_of(make({{"event_types", json::array({"batch.completed"})}}), 400)["message"],
              HasSubstr("fine_tuning.job.succeeded"));
  const std::string id = body_of(make())["id"];
  error_of(client().Post(at(id, "/test"), R"({"event_type":"batch.completed"})", kJson), 400);
}

TEST_F(WebhooksApiTest, ListsInPages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(body_of(make())["id"]);
    now_ms_ += 1'000;
  }
  const json first = body_of(client().Get(std::string(kPath) + "?limit=2"));
  EXPECT_TRUE(first["has_more"]);
  EXPECT_EQ(first["data"][0]["id"], ids[2]);
  const json second = body_of(client().Get(std::string(kPath) + "?after=" + ids[1]));
  EXPECT_FALSE(second["has_more"]);
  EXPECT_EQ(second["data"][0]["id"], ids[0]);
  error_of(client().Get(std::string(kPath) + "?after=whep_unknown"), 404);
}

TEST_F(WebhooksApiTest, TestsAnEndpoint) {
  Receiver receiver([](int) { return 500; });
  const std::string id = body_of(make({{"url", receiver.url()}}))["id"];
  const json result =
      body_of(client().Post(at(id, "/test"), R"({"event_type":"fine_tuning.job.failed"})", kJson));
  EXPECT_EQ(result["object"], "webhook_endpoint.test");
  EXPECT_EQ(result["webhook_endpoint_id"], id);
  EXPECT_EQ(result["status_code"], 500);
  EXPECT_EQ(result["success"], true);
  EXPECT_EQ(receiver.requests().size(), 1u);
}

TEST_F(WebhooksApiTest, SaysWhyATestCannotBeDelivered) {
  int port = 0;
  {
    const Receiver gone;
    port = gone.port();
  }
  const std::string id =
      body_of(make({{"url", "http://127.0.0.1:" + std::to_string(port) + "/"}}))["id"];
  const auto reply =
      client().Post(at(id, "/test"), R"({"event_type":"fine_tuning.job.failed"})", kJson);
  EXPECT_EQ(error_of(reply, 400)["code"], "webhook_test_failed");
}

TEST_F(WebhooksApiTest, ListsTheEventTypes) {
  const json types = body_of(client().Get("/v1/webhook_event_types"));
  EXPECT_EQ(types["object"], "list");
  EXPECT_EQ(types["data"], json({"fine_tuning.job.succeeded", "fine_tuning.job.failed",
                                 "fine_tuning.job.cancelled"}));
}

TEST_F(WebhooksApiTest, TellsThatAJobWasCancelled) {
  Receiver receiver;
  body_of(
      make({{"url", receiver.url()}, {"event_types", json::array({"fine_tuning.job.cancelled"})}}));
  const auto job = waiting_job();
  body_of(client().Post("/v1/fine_tuning/jobs/" + job + "/cancel", "", kJson));
  for (int i = 0; i < 2'000 && receiver.requests().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_EQ(receiver.requests().size(), 1u);
  EXPECT_EQ(json::parse(receiver.requests()[0].body)["data"]["id"], job);
}

}  // namespace
}  // namespace tunefleet::coordinator
