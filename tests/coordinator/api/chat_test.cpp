#include <gmock/gmock.h>

#include <sstream>
#include <thread>

#include "coordinator/api/openapi_document.h"
#include "tests/coordinator/api/api_fixture.h"
#include "tests/coordinator/api/raw_client.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kBase = "Qwen2.5-0.5B";
constexpr const char* kPath = "/v1/chat/completions";

/// Chat completions over HTTP; the model's server is a test double (fake_model_server.cpp) that
/// says the adapter and the last message back.
class ChatTest : public ApiTest {
 protected:
  static json body(const std::string& content, const json& more = json::object()) {
    json body{{"model", kBase}, {"messages", {{{"role", "user"}, {"content", content}}}}};
    body.update(more);
    return body;
  }
  httplib::Result chat(const json& body, const std::string& key = {}) {
    return client(key.empty() ? key_ : key).Post(kPath, body.dump(), "application/json");
  }
  /// The data of each server-sent event.
  static std::vector<std::string> events_of(const httplib::Result& result) {
    EXPECT_EQ(result->status, 200) << result->body;
    EXPECT_EQ(result->get_header_value("Content-Type"), "text/event-stream");
    std::vector<std::string> events;
    std::istringstream lines(result->body);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("data: ")) events.push_back(line.substr(6));
    }
    return events;
  }
  static std::string text_of(const std::vector<std::string>& events) {
    std::string text;
    for (const auto& event : events) {
      if (event == "[DONE]") continue;
      const json chunk = json::parse(event);
      EXPECT_EQ(chunk["object"], "chat.completion.chunk");
      for (const json& choice : chunk["choices"]) text += choice["delta"].value("content", "");
    }
    return text;
  }
  std::string request_text(const json& body) const {
    const std::string text = body.dump();
    return "POST " + std::string(kPath) + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key_ +
           "\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
  }
  /// A finished model of the tenant admin.
  json tuned() {
    const std::string job = waiting_job({{"suffix", "mine"}});
    start(job);
    finish(job);
    return body_of(client().Get("/v1/fine_tuning/jobs/" + job));
  }
};

TEST_F(ChatTest, ABaseModelAnswers) {
  const json answer = body_of(chat(body("hello")));
  EXPECT_THAT(answer["id"].get<std::string>(), StartsWith("chatcmpl-"));
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["model"], kBase);
  EXPECT_EQ(answer["created"], now_ms_ / 1000);
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "|hello");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["total_tokens"], 3);
  for (const json& name : openapi_schemas()["ChatCompletion"]["required"]) {
    EXPECT_TRUE(answer.contains(name.get<std::string>())) << name;
  }
}

TEST_F(ChatTest, ATunedModelAnswersWithItsAdapter) {
  const json job = tuned();
  const std::string checkpoint = job["checkpoint"];
  const std::string name = job["fine_tuned_model"];
  for (const std::string& model : {name, name + ":ckpt-step-7", job["id"].get<std::string>()}) {
    const json answer = body_of(chat(body("hello", {{"model", model}})));
    EXPECT_EQ(answer["choices"][0]["message"]["content"], checkpoint + "|hello") << model;
    EXPECT_EQ(answer["model"], model);
  }
}

TEST_F(ChatTest, StreamsChunksToDone) {
  const auto events = events_of(
      chat(body("hello", {{"stream", true}, {"stream_options", {{"include_usage", true}}}})));
  ASSERT_GE(events.size(), 5);
  EXPECT_EQ(text_of(events), "|hello");
  EXPECT_EQ(json::parse(events.front())["choices"][0]["delta"]["role"], "assistant");
  EXPECT_TRUE(json::parse(events.front())["usage"].is_null());
  EXPECT_EQ(json::parse(events[events.size() - 3])["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(json::parse(events[events.size() - 2])["usage"]["total_tokens"], 3);
  EXPECT_EQ(events.back(), "[DONE]");
  const auto plain = events_of(chat(body("hello", {{"stream", true}})));
  EXPECT_FALSE(json::parse(plain.front()).contains("usage"));
  EXPECT_EQ(plain.size(), events.size() - 1);
}

TEST_F(ChatTest, ModelsThatAreNotYoursDoNotExist) {
  const std::string name = tuned()["fine_tuned_model"];
  const std::string stranger = key_of("stranger", Scope::kAdmin);
  for (const std::string& model : {name, name + ":ckpt-step-7", std::string("ft:x:y:z:nothing"),
                                   std::string("nothing"), std::string("../models/Qwen2.5-0.5B")}) {
    const json error = error_of(chat(body("hello", {{"model", model}}), stranger), 404);
    EXPECT_EQ(error["code"], "model_not_found") << model;
    EXPECT_EQ(error["param"], "model");
  }
  client().Post("/v1/fine_tuning/checkpoints/" + name + "/permissions",
                R"({"project_ids":["stranger"]})", "application/json");
  EXPECT_EQ(chat(body("hello", {{"model", name}}), stranger)->status, 200);
  client().Delete("/v1/models/" + name);
  error_of(chat(body("hello", {{"model", name}})), 404);
}

TEST_F(ChatTest, AKeyThatMayReadMayAsk) {
  EXPECT_EQ(chat(body("hello"), key_of("acme", Scope::kRead))->status, 200);
  EXPECT_EQ(error_of(chat(body("hello"), "tf-wrong"), 401)["code"], "invalid_api_key");
}

TEST_F(ChatTest, WrongAndOversizeBodiesAreRefused) {
  EXPECT_EQ(error_of(chat(body("hello", {{"n", 2}})), 400)["param"], "n");
  error_of(client().Post(kPath, "{", "application/json"), 400);
  error_of(client().Post(kPath, "", "application/json"), 400);
  error_of(chat(body(std::string((1 << 20) + 1, 'x'))), 413);
  std::string deep = R"({"model":"m","messages":)" + std::string(100'000, '[');
  error_of(client().Post(kPath, deep, "application/json"), 400);
}

TEST_F(ChatTest, AConversationThatIsTooLongIsTold) {
  for (const bool stream : {false, true}) {
    const json error = error_of(chat(body("refuse", {{"stream", stream}})), 400);
    EXPECT_EQ(error["code"], "context_length_exceeded");
  }
}

TEST_F(ChatTest, AServerThatDiesIs503AndTheNextAnswers) {
  const auto reply = chat(body("die"));
  error_of(reply, 503);
  EXPECT_EQ(reply->get_header_value("Retry-After"), "2");
  EXPECT_EQ(chat(body("hello"))->status, 200);
}

TEST_F(ChatTest, ADeathInTheMiddleOfAStreamIsItsLastEvent) {
  const auto events = events_of(chat(body("die", {{"stream", true}})));
  EXPECT_THAT(json::parse(events.back())["error"]["message"].get<std::string>(),
              HasSubstr("SIGKILL"));
}

TEST_F(ChatTest, AClientThatGoesCancelsItsAnswer) {
  for (const bool stream : {true, false}) {
    {
      RawClient leaving(server_->port());
      leaving.say(request_text(body("wait", {{"stream", stream}})));
      leaving.hear(300);
    }
    EXPECT_EQ(body_of(chat(body("hello")))["choices"][0]["message"]["content"], "|hello");
  }
}

TEST_F(ChatTest, AClientThatDoesNotReadHoldsNobodyUp) {
  RawClient slow(server_->port());
  slow.say(request_text(body("flood", {{"stream", true}})));
  EXPECT_EQ(chat(body("hello"))->status, 200);
}

TEST_F(ChatTest, AFullQueueIsTold) {
  server_.reset();
  serving_ = std::make_unique<ServingPool>(ServingOptions{.program = {fake_model_server()},
                                                          .log = directory_.path() / "serving.log",
                                                          .max_waiting = 2,
                                                          .max_of_owner = 1});
  serve({});
  RawClient mine(server_->port());
  mine.say(request_text(body("wait", {{"stream", true}})));
  EXPECT_THAT(mine.hear(1000), HasSubstr("data: "));
  const auto too_many = chat(body("hello"));
  EXPECT_EQ(error_of(too_many, 429)["code"], "rate_limit_exceeded");
  EXPECT_EQ(too_many->get_header_value("Retry-After"), "2");
  EXPECT_EQ(serving_->loaded().size(), 1);
}

TEST_F(ChatTest, StoppingTheModelsEndsTheirRequests) {
  std::thread stopper([this] {
    std::this_thread::sleep_for(milliseconds(300));
    serving_->stop();
  });
  error_of(chat(body("wait")), 503);
  stopper.join();
}

}  // namespace
}  // namespace tunefleet::coordinator
