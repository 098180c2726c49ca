#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

class AccessTest : public ApiTest {
 protected:
  httplib::Result make_key(httplib::Client client, const json& body) {
    return client.Post("/v1/keys", body.dump(), "application/json");
  }
  std::vector<json> audit() {
    std::vector<json> lines;
    std::ifstream file(directory_.path() / "audit.jsonl");
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }
  std::string audit_text() {
    std::ifstream file(directory_.path() / "audit.jsonl");
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(AccessTest, TellsAKeyOnceAndLetsItIn) {
  const json made = body_of(make_key(client(), {{"tenant", "acme"},
                                                {"scopes", {"submit"}},
                                                {"name", "nightly"},
                                                {"expires_after_s", 3600}}));
  EXPECT_EQ(made["object"], "key");
  EXPECT_EQ(made["tenant"], "acme");
  EXPECT_EQ(made["scopes"], json({"read", "submit"}));
  EXPECT_EQ(made["expires_at"], made["created_at"].get<int64_t>() + 3600);
  const std::string key = made["key"];
  EXPECT_EQ(body_of(client(key).Get("/v1/files"))["data"], json::array());
  const json listed = body_of(client().Get("/v1/keys?tenant=acme"));
  ASSERT_EQ(listed["data"].size(), 1);
  EXPECT_EQ(listed["data"][0]["id"], made["id"]);
  EXPECT_EQ(listed["data"][0]["prefix"], key.substr(0, 7));
  EXPECT_EQ(listed.dump().find(key), std::string::npos);
  EXPECT_EQ(listed.dump().find("sha256"), std::string::npos);
}

TEST_F(AccessTest, RefusesAnExpiredAndARevokedKeyWithoutARestart) {
  const json brief = body_of(make_key(client(), {{"scopes", {"read"}}, {"expires_after_s", 60}}));
  EXPECT_EQ(client(brief["key"].get<std::string>()).Get("/v1/files")->status, 200);
  now_ms_ += 60'000;
  const json expired = error_of(client(brief["key"].get<std::string>()).Get("/v1/files"), 401);
  EXPECT_NE(expired["message"].get<std::string>().find("expired"), std::string::npos);
  const json made = body_of(make_key(client(), {{"scopes", {"read"}}}));
  auto user = client(made["key"].get<std::string>());
  EXPECT_EQ(user.Get("/v1/files")->status, 200);
  EXPECT_EQ(body_of(client().Delete("/v1/keys/" + made["id"].get<std::string>())),
            json({{"id", made["id"]}, {"object", "key"}, {"deleted", true}}));
  EXPECT_EQ(error_of(user.Get("/v1/files"), 401)["code"], "invalid_api_key");
}

TEST_F(AccessTest, RefusesAWrongRequestForAKey) {
  const auto param_of = [&](const json& body) {
    return error_of(make_key(client(), body), 400)["param"];
  };
  EXPECT_EQ(param_of(json::object()), "scopes");
  EXPECT_EQ(param_of({{"scopes", {"root"}}}), "scopes");
  EXPECT_EQ(param_of({{"scopes", "read"}}), "scopes");
  EXPECT_EQ(param_of({{"scopes", {"read"}}, {"tenant", "a}:b"}}), "tenant");
  EXPECT_EQ(param_of({{"scopes", {"read"}}, {"expires_after_s", 1}}), "expires_after_s");
  EXPECT_EQ(param_of({{"scopes", {"read"}}, {"expires_after_s", 1e300}}), "expires_after_s");
  EXPECT_EQ(param_of({{"scopes", {"read"}}, {"name", std::string(65, 'n')}}), "name");
  EXPECT_EQ(param_of({{"scope", {"read"}}}), "scope");
}

TEST_F(AccessTest, LetsATenantsAdministratorManageItsOwnKeysOnly) {
  auto acme = client(key_of("acme", Scope::kAdmin));
  body_of(make_key(client(key_of("acme", Scope::kAdmin)), {{"scopes", {"read"}}}));
  const json keys = body_of(acme.Get("/v1/keys"));
  for (const json& key : keys["data"]) EXPECT_EQ(key["tenant"], "acme");
  error_of(
      acme.Post("/v1/keys", "{\"tenant\":\"admin\",\"scopes\":[\"admin\"]}", "application/json"),
      403);
  const json theirs = body_of(client().Get("/v1/keys?tenant=admin"))["data"][0];
  error_of(acme.Delete("/v1/keys/" + theirs["id"].get<std::string>()), 404);
  EXPECT_EQ(client().Get("/v1/keys")->status, 200);
}

TEST_F(AccessTest, PagesThroughKeys) {
  for (int i = 0; i < 5; ++i) key_of("acme", Scope::kRead);
  const json first = body_of(client().Get("/v1/keys?tenant=acme&limit=3"));
  EXPECT_EQ(first["data"].size(), 3);
  EXPECT_TRUE(first["has_more"]);
  const json rest = body_of(
      client().Get("/v1/keys?tenant=acme&limit=3&after=" + first["last_id"].get<std::string>()));
  EXPECT_EQ(rest["data"].size(), 2);
  EXPECT_FALSE(rest["has_more"]);
  error_of(client().Get("/v1/keys?after=key-none"), 404);
}

/// Over the whole table, so that a new route is covered: a key with less than the route's scope is
/// refused before the handler runs, one with the scope is not.
TEST_F(AccessTest, EveryRouteAsksForItsScope) {
  const std::string file = good_file();
  for (const Route* route : server_->routes()) {
    if (route->scope == Scope::kNone) continue;
    std::string path(route->pattern);
    for (size_t open; (open = path.find('{')) != std::string::npos;) {
      path.replace(open, path.find('}') - open + 1, file);
    }
    for (const Scope scope : {Scope::kRead, Scope::kSubmit, Scope::kAdmin}) {
      httplib::Request request;
      request.method = route->method;
      request.path = path;
      request.body = "{}";
      request.set_header("Content-Type", "application/json");
      const auto reply = client(key_of("acme", scope)).send(request);
      ASSERT_TRUE(reply) << path;
      if (scope >= route->scope) {
        EXPECT_NE(reply->status, 403) << request.method << path << reply->body;
        continue;
      }
      const json error = error_of(reply, 403);
      EXPECT_EQ(error["code"], "insufficient_scope");
      EXPECT_NE(error["message"].get<std::string>().find(scope_name(route->scope)),
                std::string::npos);
    }
  }
}

TEST_F(AccessTest, AnswersTooManyRequestsAsOpenAiDoes) {
  serve({.requests = {.per_second = 2, .burst = 3}});
  const auto first = client().Get("/v1/files");
  EXPECT_EQ(first->get_header_value("x-ratelimit-limit-requests"), "3");
  EXPECT_EQ(first->get_header_value("x-ratelimit-remaining-requests"), "2");
  EXPECT_EQ(first->get_header_value("x-ratelimit-reset-requests"), "500ms");
  client().Get("/v1/files");
  client().Get("/v1/files");
  const auto refused = client().Get("/v1/files");
  const json error = error_of(refused, 429);
  EXPECT_EQ(error["code"], "rate_limit_exceeded");
  EXPECT_EQ(refused->get_header_value("retry-after"), "1");
  EXPECT_EQ(refused->get_header_value("retry-after-ms"), "500");
  EXPECT_EQ(refused->get_header_value("x-ratelimit-remaining-requests"), "0");
  EXPECT_EQ(client(other_key_).Get("/v1/files")->status, 200);
  now_ms_ += 500;
  EXPECT_EQ(client().Get("/v1/files")->status, 200);
}

TEST_F(AccessTest, BoundsWhatIsMadeMoreThanWhatIsRead) {
  serve({.creates = {.per_second = 1, .burst = 2}});
  const std::string file = good_file();
  const auto second = create({{"model", "Qwen2.5-0.5B"}, {"training_file", file}});
  EXPECT_EQ(second->status, 200);
  EXPECT_EQ(second->get_header_value("x-ratelimit-limit-requests"), "2");
  EXPECT_EQ(second->get_header_value("x-ratelimit-remaining-requests"), "0");
  error_of(create({{"model", "Qwen2.5-0.5B"}, {"training_file", file}}), 429);
  EXPECT_EQ(body_of(client().Get("/v1/fine_tuning/jobs"))["data"].size(), 1);
  now_ms_ += 1'000;
  EXPECT_EQ(create({{"model", "Qwen2.5-0.5B"}, {"training_file", file}})->status, 200);
}

TEST_F(AccessTest, NoticesNothingOfTheDefaultLimits) {
  auto busy = client();
  busy.set_keep_alive(true);
  for (int i = 0; i < 300; ++i) ASSERT_EQ(busy.Get("/v1/files")->status, 200);
}

TEST_F(AccessTest, WritesDownWhatChangesSomethingAndWhatIsRefused) {
  const std::string file = good_file();
  body_of(client().Get("/v1/files/" + file));
  body_of(client().Delete("/v1/files/" + file));
  const auto missing = httplib::Client("127.0.0.1", server_->port()).Get("/v1/models");
  error_of(client(key_of("acme", Scope::kRead)).Delete("/v1/files/" + file), 403);
  error_of(client().Put("/v1/nowhere", "x", "text/plain"), 404);
  const auto lines = audit();
  ASSERT_EQ(lines.size(), 5);
  EXPECT_EQ(lines[0]["method"], "POST");
  EXPECT_EQ(lines[0]["route"], "/v1/files");
  EXPECT_EQ(lines[0]["object"], file);
  EXPECT_EQ(lines[0]["tenant"], "admin");
  EXPECT_EQ(lines[0]["remote"], "127.0.0.1");
  EXPECT_EQ(lines[1]["object"], file);
  EXPECT_EQ(lines[1]["route"], "/v1/files/{id}");
  EXPECT_EQ(lines[1]["status"], 200);
  EXPECT_EQ(lines[2]["status"], 401);
  EXPECT_EQ(lines[2]["request"], missing->get_header_value("x-request-id"));
  EXPECT_EQ(lines[2]["tenant"], "");
  EXPECT_EQ(lines[3]["status"], 403);
  EXPECT_EQ(lines[3]["tenant"], "acme");
  EXPECT_EQ(lines[4]["route"], "");
  EXPECT_EQ(lines[4]["status"], 404);
}

TEST_F(AccessTest, WritesNoSecretsAndNoBodiesDown) {
  const std::string made =
      body_of(make_key(client(), {{"scopes", {"read"}}, {"name", "n-a-m-e"}}))["key"];
  upload("{\"query\":\"a secret\",\"response\":\"b\"}\n", "private.jsonl");
  error_of(client("tf-wrong-key").Get("/v1/files?after=asked"), 401);
  const std::string text = audit_text();
  EXPECT_EQ(audit().size(), 3);
  for (const std::string& secret :
       {made, key_, std::string("n-a-m-e"), std::string("a secret"), std::string("private.jsonl"),
        std::string("wrong-key"), std::string("asked")}) {
    EXPECT_EQ(text.find(secret), std::string::npos) << secret;
  }
}

TEST_F(AccessTest, ServesThoughTheAuditLogCannotBeWritten) {
  std::filesystem::create_directory(directory_.path() / "audit.jsonl");
  EXPECT_FALSE(good_file().empty());
}

}  // namespace
}  // namespace tunefleet::coordinator
