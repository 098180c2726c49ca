#include <chrono>
#include <thread>

#include "tests/coordinator/api/api_fixture.h"
#include "tests/coordinator/api/raw_client.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

class HttpTest : public ApiTest {
 protected:
  std::string with_key(const std::string& line, const std::string& headers = "") {
    return line + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key_ + "\r\n" + headers +
           "\r\n";
  }
};

TEST_F(HttpTest, NothingButHealthWithoutAKey) {
  httplib::Client stranger("127.0.0.1", server_->port());
  EXPECT_EQ(body_of(stranger.Get("/healthz")), json({{"status", "ok"}}));
  for (const char* path : {"/v1/models", "/v1/files", "/v1/fine_tuning/jobs", "/v1/fleet", "/",
                           "/nowhere", "/v1/files/file-x/content"}) {
    EXPECT_EQ(error_of(stranger.Get(path), 401)["code"], "missing_api_key") << path;
  }
  error_of(stranger.Post("/v1/fine_tuning/jobs", "{}", "application/json"), 401);
  const json error = error_of(client("tf-wrong-key-of-someone").Get("/v1/models"), 401);
  EXPECT_EQ(error["code"], "invalid_api_key");
  EXPECT_EQ(error["message"].get<std::string>().find("someone"), std::string::npos);
}

TEST_F(HttpTest, SaysWhatAnAddressTakes) {
  error_of(client().Get("/v1/nowhere"), 404);
  const auto wrong = client().Put("/v1/files", "x", "text/plain");
  error_of(wrong, 405);
  EXPECT_EQ(wrong->get_header_value("Allow"), "POST, GET");
  error_of(client().Delete("/v1/fine_tuning/jobs"), 405);
  const auto head = client().Head("/v1/models");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_TRUE(head->body.empty());
}

TEST_F(HttpTest, AWordOfAnAddressIsNoId) {
  const auto reply = client().Get("/v1/fine_tuning/jobs/plan");
  error_of(reply, 405);
  EXPECT_EQ(reply->get_header_value("Allow"), "POST");
}

TEST_F(HttpTest, AnswersGarbageInOpenAisShape) {
  for (const std::string text : {"NONSENSE\r\n\r\n", "GET\r\n\r\n", "TRACE / HTTP/1.1\r\n\r\n"}) {
    RawClient raw(server_->port());
    raw.say(text);
    const std::string reply = raw.hear();
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 4")) << reply;
    EXPECT_NE(reply.find("{\"error\":"), std::string::npos) << reply;
    EXPECT_NE(reply.find("x-request-id: req_"), std::string::npos) << reply;
  }
}

TEST_F(HttpTest, BoundsHeaders) {
  RawClient raw(server_->port());
  raw.say("GET /v1/models HTTP/1.1\r\n");
  for (int i = 0; i < 100; ++i) {
    if (!raw.say("x-" + std::to_string(i) + ": " + std::string(1000, 'a') + "\r\n")) break;
  }
  raw.say("\r\n");
  EXPECT_TRUE(raw.hear().starts_with("HTTP/1.1 431"));
}

TEST_F(HttpTest, RefusesALongBodyBeforeReadingIt) {
  RawClient raw(server_->port());
  raw.say(with_key("POST /v1/fine_tuning/jobs", "Content-Length: 99999999\r\n"));
  const std::string reply = raw.hear();
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 413")) << reply;
  EXPECT_NE(reply.find("Connection: close"), std::string::npos);
}

TEST_F(HttpTest, BoundsAChunkedBodyToo) {
  RawClient raw(server_->port());
  raw.say(with_key("POST /v1/fine_tuning/jobs", "Transfer-Encoding: chunked\r\n"));
  const std::string chunk = "10000\r\n" + std::string(0x10000, ' ') + "\r\n";
  for (int i = 0; i < 32 && raw.say(chunk); ++i) {
  }
  EXPECT_TRUE(raw.hear().starts_with("HTTP/1.1 413"));
}

TEST_F(HttpTest, ReadsAChunkedBody) {
  RawClient raw(server_->port());
  const std::string body = "{\"model\":\"nope\"}";
  raw.say(with_key("POST /v1/fine_tuning/jobs", "Transfer-Encoding: chunked\r\n") + "10\r\n" +
          body + "\r\n0\r\n\r\n");
  EXPECT_NE(raw.hear().find("model: no such model"), std::string::npos);
}

TEST_F(HttpTest, RefusesTwoBodyLengths) {
  RawClient raw(server_->port());
  raw.say(
      with_key("POST /v1/fine_tuning/jobs", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") +
      "0\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n");
  const std::string reply = raw.hear();
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 400")) << reply;
  EXPECT_EQ(reply.find("HTTP/1.1", 5), std::string::npos) << reply;
}

TEST_F(HttpTest, DoesNotTakeABodyForTheNextRequest) {
  RawClient raw(server_->port());
  const std::string hidden = with_key("GET /v1/models");
  raw.say(with_key("GET /v1/files", "Content-Length: " + std::to_string(hidden.size()) + "\r\n") +
          hidden);
  const std::string reply = raw.hear(3000);
  EXPECT_EQ(reply.find("HTTP/1.1", 5), std::string::npos) << reply;
}

TEST_F(HttpTest, KeepsTheConnectionForTheNextRequest) {
  RawClient raw(server_->port());
  raw.say(with_key("GET /v1/files") + with_key("GET /v1/models"));
  const std::string replies = raw.hear(300);
  EXPECT_NE(replies.find("HTTP/1.1 200", 5), std::string::npos) << replies;
  raw.say(with_key("GET /v1/files"));
  EXPECT_TRUE(raw.hear(300).starts_with("HTTP/1.1 200"));
}

TEST_F(HttpTest, SlowClientsDoNotHoldUpOthers) {
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 60; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_->port()));
    slow.back()->say("GET /v1/models HTTP/1.1\r\nHo");
  }
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(body_of(client().Get("/v1/models"))["object"], "list");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1));
}

/// Answers every request with the length of its body; impatient.
class ImpatientServer : public testing::Test {
 protected:
  ImpatientServer() {
    HttpServerOptions options;
    options.limits.idle = std::chrono::milliseconds(200);
    options.limits.headers = std::chrono::milliseconds(200);
    options.limits.piece = std::chrono::milliseconds(100);
    options.limits.body_start = std::chrono::milliseconds(300);
    server_ = HttpServer::start(options, [](HttpRequest& request) {
                size_t bytes = 0;
                const auto read = request.read_body(1000, [&](std::string_view piece) {
                  bytes += piece.size();
                  return true;
                });
                if (!read) return error_reply(to_api_error(read.error()));
                HttpReply reply;
                reply.body = std::to_string(bytes);
                return reply;
              }).value();
  }
  /// Says `text` letter by letter, 50 ms apart, until the server answers; gives the answer.
  std::string drip(RawClient& raw, const std::string& text) {
    for (const char letter : text) {
      if (!raw.say(std::string(1, letter))) break;
      if (auto reply = raw.hear(50); !reply.empty()) return reply;
    }
    return raw.hear();
  }
  std::unique_ptr<HttpServer> server_;
};

TEST_F(ImpatientServer, EndsRequestsWhoseHeadersComeTooSlowly) {
  RawClient raw(server_->port());
  raw.say("GET / HTTP/1.1\r\n");
  EXPECT_TRUE(drip(raw, "Header-of-a-patient-client: yes\r\n\r\n").starts_with("HTTP/1.1 408"));
}

TEST_F(ImpatientServer, EndsRequestsWhoseBodyComesTooSlowly) {
  RawClient raw(server_->port());
  raw.say("POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\n");
  EXPECT_NE(drip(raw, std::string(30, 'x')).find("too slowly"), std::string::npos);
  RawClient silent(server_->port());
  silent.say("POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\nabc");
  EXPECT_NE(silent.hear().find("too slowly"), std::string::npos);
}

TEST_F(ImpatientServer, ClosesIdleConnections) {
  RawClient raw(server_->port());
  raw.say("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
  const auto before = std::chrono::steady_clock::now();
  EXPECT_TRUE(raw.hear(5000).ends_with("\r\n\r\n3"));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(3));
}

TEST(HttpServerLimits, ConnectionsThatAskNothingGiveWayWhenAllAreTaken) {
  HttpServerOptions options;
  options.max_connections = 4;
  options.limits.idle = options.limits.headers = std::chrono::minutes(1);
  options.limits.crowded = std::chrono::milliseconds(300);
  const auto server = HttpServer::start(options, [](HttpRequest&) { return HttpReply(); });
  ASSERT_TRUE(server);
  for (const char* beginning : {"", "GET / HTTP/1.1\r\nA: "}) {
    std::vector<std::unique_ptr<RawClient>> silent;
    for (int i = 0; i < 4; ++i) {
      silent.push_back(std::make_unique<RawClient>((*server)->port()));
      silent.back()->say(beginning);
    }
    std::string reply;
    const auto begun = std::chrono::steady_clock::now();
    while (!reply.starts_with("HTTP/1.1 200") &&
           std::chrono::steady_clock::now() - begun < std::chrono::seconds(20)) {
      RawClient late((*server)->port());
      late.say("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
      reply = late.hear(5000);
    }
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 200")) << beginning << reply;
  }
}

TEST(HttpServerLimits, RefusesConnectionsPastTheirNumberUntilSomeEnd) {
  HttpServerOptions options;
  options.max_connections = 4;
  const auto server = HttpServer::start(options, [](HttpRequest&) { return HttpReply(); });
  ASSERT_TRUE(server);
  const auto ask_until = [&](const std::string& status) {
    std::string reply;
    for (int i = 0; i < 100 && !reply.starts_with("HTTP/1.1 " + status); ++i) {
      RawClient late((*server)->port());
      late.say("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
      reply = late.hear(5000);
    }
    return reply;
  };
  std::vector<std::unique_ptr<RawClient>> many;
  for (int i = 0; i < 4; ++i) {
    many.push_back(std::make_unique<RawClient>((*server)->port()));
    many.back()->say("GET / HTTP/1.1\r\n\r\n");
    ASSERT_TRUE(many.back()->hear(200).starts_with("HTTP/1.1 200")) << "each holds its connection";
  }
  EXPECT_TRUE(ask_until("503").starts_with("HTTP/1.1 503"));
  many.clear();
  EXPECT_TRUE(ask_until("200").starts_with("HTTP/1.1 200"));
}

TEST_F(HttpTest, SaysThatAPortIsTaken) {
  const auto second =
      HttpServer::start({.port = server_->port()}, [](HttpRequest&) { return HttpReply(); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_NE(second.error().message.find(std::to_string(server_->port())), std::string::npos);
}

TEST_F(HttpTest, TurnsAnExceptionIntoA500WithoutItsText) {
  const auto server = HttpServer::start(
      {}, [](HttpRequest&) -> HttpReply { throw std::runtime_error("secret detail"); });
  ASSERT_TRUE(server);
  httplib::Client broken("127.0.0.1", (*server)->port());
  const json error = error_of(broken.Get("/"), 500);
  EXPECT_EQ(error["message"].get<std::string>().find("secret"), std::string::npos);
}

}  // namespace
}  // namespace tunefleet::coordinator
