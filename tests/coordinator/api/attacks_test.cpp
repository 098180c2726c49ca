#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <thread>

#include "tests/coordinator/api/api_fixture.h"
#include "tests/coordinator/api/raw_client.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

/// What a hostile client tries. Tests over the table of routes cover new ones by themselves.
class AttackTest : public ApiTest {
 protected:
  std::string with_key(const std::string& line, const std::string& headers = "") {
    return line + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key_ + "\r\n" + headers +
           "\r\n";
  }
  std::string answer_to(const std::string& text) {
    RawClient raw(server_->port());
    raw.say(text);
    return raw.hear(500);
  }
  static size_t replies_in(const std::string& text) {
    size_t count = 0;
    for (size_t at = text.find("HTTP/1.1 "); at != std::string::npos;
         at = text.find("HTTP/1.1 ", at + 1)) {
      ++count;
    }
    return count;
  }
  /// Every file and directory of the service, by its path.
  std::set<std::string> on_disk() {
    std::set<std::string> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
      paths.insert(entry.path().string());
    }
    return paths;
  }
  static std::string filled(std::string_view pattern, const std::string& id) {
    std::string path(pattern);
    for (size_t open; (open = path.find('{')) != std::string::npos;) {
      path.replace(open, path.find('}') - open + 1, id);
    }
    return path;
  }
};

TEST_F(AttackTest, TraversalInIdsLeadsNowhere) {
  std::ofstream(directory_.path() / "secret") << "the secret";
  const auto before = on_disk();
  for (const std::string id :
       {"..", "%2e%2e", "..%2F..%2Fadmin.key", "..%2Fsecret", "%2Fetc%2Fpasswd", "file-..%2Fx",
        "ftjob-%2E%2E%2Fsecret", "ft:..%2F..%2F:a:b:c", "ft:a:b:c:..%2F..%2F:ckpt-step-1",
        "..%5c..%5csecret", "%252e%252e%252f", "file-%00", "%c0%ae%c0%ae%2f", "a%00b"}) {
    for (const Route* route : server_->routes()) {
      if (route->pattern.find('{') == std::string_view::npos) continue;
      httplib::Request request;
      request.method = route->method;
      request.path = filled(route->pattern, id);
      const auto reply = client().send(request);
      ASSERT_TRUE(reply) << id;
      EXPECT_TRUE(reply->status == 404 || reply->status == 400)
          << route->method << " " << request.path << " " << reply->status << reply->body;
      EXPECT_EQ(reply->body.find("the secret"), std::string::npos);
      EXPECT_EQ(reply->body.find("root:"), std::string::npos);
    }
  }
  auto after = on_disk();
  const auto lock = (directory_.path() / "webhooks" / "endpoints.json.lock").string();
  std::erase_if(after, [&lock](const auto& path) {  // Asking for an endpoint's removal takes it.
    return path.find("audit") != std::string::npos || path == lock;
  });
  EXPECT_EQ(after, before);
}

TEST_F(AttackTest, HostileFilenamesStayTextOrAreRefused) {
  for (const std::string& name :
       {std::string("../../../admin.key"), std::string("/etc/cron.d/x"), std::string("a\nb"),
        std::string("con"), std::string("..\\..\\x"), std::string("$(reboot).jsonl"),
        std::string("\xff\xfe.jsonl"), std::string(5'000, 'n')}) {
    const auto before = on_disk();
    const auto reply = upload("{\"query\":\"a\",\"response\":\"b\"}\n", name);
    ASSERT_TRUE(reply);
    if (reply->status != 200) {
      EXPECT_EQ(reply->status, 400) << name.substr(0, 40);
      continue;
    }
    const std::string id = body_of(reply)["id"];
    for (const std::string& path : on_disk()) {
      EXPECT_TRUE(before.contains(path) || path.find(id) != std::string::npos ||
                  path.find("audit") != std::string::npos)
          << path;
    }
    EXPECT_EQ(client().Get("/v1/files/" + id)->status, 200);
  }
}

TEST_F(AttackTest, NulBytesAreRefused) {
  error_of(upload("{\"query\":\"a\",\"response\":\"b\"}\n", std::string("a\0.jsonl", 8)), 400);
  for (const char* body : {"{\"model\":\"Qwen2.5-0.5B\\u0000\",\"training_file\":\"x\"}",
                           "{\"mo\\u0000del\":\"x\"}", "{\"metadata\":{\"k\":\"\\u0000\"}}"}) {
    const json error =
        error_of(client().Post("/v1/fine_tuning/jobs", body, "application/json"), 400);
    EXPECT_NE(error["message"].get<std::string>().find("NUL"), std::string::npos) << body;
  }
  error_of(client().Post("/v1/fine_tuning/jobs", std::string("{\"model\":\"\0\"}", 13),
                         "application/json"),
           400);
  const std::string nul(1, '\0');
  for (const std::string& text : {"GET /v1/models" + nul + " HTTP/1.1\r\n\r\n",
                                  with_key("GET /v1/models", "a" + nul + ": b\r\n"),
                                  with_key("GET /v1/models", "a: b" + nul + "\r\n")}) {
    const std::string reply = answer_to(text);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 400")) << text << reply;
  }
  EXPECT_EQ(client().Get("/v1/files?after=%00")->status, 404);
  EXPECT_EQ(client().Get("/v1/fine_tuning/jobs?after=ftjob-%00")->status, 404);
}

TEST_F(AttackTest, NoRouteReadsAnOversizeBody) {
  for (const Route* route : server_->routes()) {
    if (route->method == "GET") continue;
    RawClient raw(server_->port());
    raw.say(with_key(std::string(route->method) + " " + filled(route->pattern, "x"),
                     "Content-Type: multipart/form-data; boundary=b\r\n"
                     "Content-Length: 99999999999\r\n"));
    const std::string reply = raw.hear(500);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 4")) << route->pattern << "\n" << reply;
    EXPECT_NE(reply.find("Connection: close"), std::string::npos) << route->pattern;
  }
}

TEST_F(AttackTest, NoRouteParsesJsonThatIsNestedTooDeeply) {
  const std::string bomb = "{\"a\":" + std::string(400'000, '[') + std::string(400'000, ']') + "}";
  const std::string open_ended = std::string(900'000, '[');
  for (const Route* route : server_->routes()) {
    if (route->doc.request.empty()) continue;
    for (const std::string& body : {bomb, open_ended}) {
      httplib::Request request;
      request.method = route->method;
      request.path = filled(route->pattern, "x");
      request.body = body;
      request.set_header("Content-Type", "application/json");
      const auto reply = client().send(request);
      ASSERT_TRUE(reply) << route->pattern;
      EXPECT_TRUE(reply->status == 400 || reply->status == 404) << route->pattern << reply->status;
    }
  }
}

TEST_F(AttackTest, HugeNumbersAreRefusedAndHarmless) {
  const std::string file = good_file();
  for (const char* field :
       {"\"seed\":1e400", "\"seed\":99999999999999999999999", "\"workers\":9223372036854775807",
        "\"n_epochs\":1e308", "\"lora_rank\":-9223372036854775808", "\"batch_size\":1e18"}) {
    const std::string body =
        "{\"model\":\"Qwen2.5-0.5B\",\"training_file\":\"" + file + "\"," + field + "}";
    const auto reply = client().Post("/v1/fine_tuning/jobs", body, "application/json");
    ASSERT_TRUE(reply) << field;
    EXPECT_LT(reply->status, 500) << field << reply->body;
  }
  for (const char* query : {"limit=99999999999999999999", "limit=-1", "limit=1e9", "limit="}) {
    error_of(client().Get(std::string("/v1/fine_tuning/jobs?") + query), 400);
  }
}

TEST_F(AttackTest, HeaderBombsAreCutOff) {
  RawClient many(server_->port());
  many.say("GET /v1/models HTTP/1.1\r\n");
  for (int i = 0; i < 20'000; ++i) {
    if (!many.say("a: b\r\n")) break;
  }
  many.say("\r\n");
  EXPECT_TRUE(many.hear().starts_with("HTTP/1.1 431"));
  EXPECT_TRUE(answer_to("GET /v1/models HTTP/1.1\r\na: " + std::string(200'000, 'b') + "\r\n\r\n")
                  .starts_with("HTTP/1.1 431"));
  const std::string address = answer_to("GET /" + std::string(200'000, 'a') + " HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(address.starts_with("HTTP/1.1 431")) << address.substr(0, 100);
}

/// Each of these has more than one reading of where the request ends. The request behind it must
/// not be answered.
TEST_F(AttackTest, RequestsCannotBeSmuggled) {
  const std::string hidden = with_key("GET /v1/fleet");
  const std::string size = std::to_string(hidden.size());
  const std::vector<std::string> framings{
      "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
      "Transfer-Encoding: chunked\r\nContent-Length: " + size + "\r\n",
      "Content-Length: 0\r\nContent-Length: " + size + "\r\n",
      "Content-Length: 0, " + size + "\r\n",
      "Content-Length: +0\r\n",
      "Content-Length: 0x0\r\n",
      "Content-Length: -1\r\n",
      "Content-Length: \r\n",
      "Transfer-Encoding:\r\n chunked\r\n",
      "Content-Length : " + size + "\r\n",
      "Transfer-Encoding: xchunked\r\n",
      "Transfer-Encoding: gzip, chunked\r\n",
      "Transfer-Encoding: identity\r\n",
      "Transfer-Encoding : chunked\r\n",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
      "X: y\r\n Content-Length: " + size + "\r\n",
      "X: y\n Content-Length: " + size + "\r\n",
      "Content-Length: " + size + "\n"};
  for (const std::string& headers : framings) {
    const std::string reply = answer_to(with_key("POST /v1/fine_tuning/jobs", headers) + hidden);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 400")) << headers << reply;
    EXPECT_EQ(replies_in(reply), 1) << headers << reply;
  }
}

TEST_F(AttackTest, BrokenChunksEndTheConnection) {
  for (const std::string chunks : {"-1\r\n\r\n0\r\n\r\n", "ffffffffffffffffff\r\n",
                                   "zz\r\nab\r\n0\r\n\r\n", "7fffffffffffffff\r\nab\r\n"}) {
    const std::string reply =
        answer_to(with_key("POST /v1/fine_tuning/jobs", "Transfer-Encoding: chunked\r\n") + chunks +
                  with_key("GET /v1/fleet"));
    EXPECT_LE(replies_in(reply), 1) << chunks << reply;
    EXPECT_EQ(reply.find("HTTP/1.1 200"), std::string::npos) << chunks << reply;
  }
}

/// Every one of these ends the first request for us where another server sees its middle or its
/// beginning.
TEST_F(AttackTest, ChunksCannotSmuggleARequest) {
  for (const std::string chunks :
       {"2\n{}\n0\n\n", "2\r\n{}XX0\r\n\r\n", "2 junk\r\n{}\r\n0\r\n\r\n", "0x2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\r\nX: y\r\n\r\n"}) {
    const std::string reply =
        answer_to(with_key("POST /v1/fine_tuning/jobs", "Transfer-Encoding: chunked\r\n") + chunks +
                  with_key("GET /v1/fleet"));
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 400")) << chunks << reply;
    EXPECT_EQ(replies_in(reply), 1) << chunks << reply;
  }
}

/// httplib reads what follows a PRI to its end, before any handler: that needed no key.
TEST_F(AttackTest, NoMethodMakesUsReadABodyThatNobodyAskedFor) {
  for (const std::string method : {"PRI", "TRACE", "CONNECT"}) {
    for (const std::string headers :
         {"", "Content-Length: 99999999999\r\n", "Transfer-Encoding: chunked\r\n"}) {
      RawClient raw(server_->port());
      raw.say(method + " /v1/models HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n");
      const std::string reply = raw.hear(2'000);
      EXPECT_TRUE(reply.starts_with("HTTP/1.1 401")) << method << headers << reply;
      EXPECT_NE(reply.find("Connection: close"), std::string::npos) << method << headers;
    }
    const std::string reply = answer_to(with_key(method + " /v1/models"));
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 405")) << reply;
    EXPECT_NE(reply.find("Allow: GET\r\n"), std::string::npos) << reply;
  }
}

TEST_F(AttackTest, AnAddressBeginsWithASlash) {
  for (const char* target : {"xv1/models", "v1/models", "*", "http://x/v1/models", "\\v1/models"}) {
    const std::string reply = answer_to(with_key(std::string("GET ") + target));
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 404")) << target << reply;
  }
}

TEST_F(AttackTest, NothingOfTheRequestBecomesAHeaderOfTheReply) {
  for (const char* path : {"/v1/%0d%0aSet-Cookie:%20a=b", "/v1/files/%0d%0aSet-Cookie:%20a=b",
                           "/v1/files?after=%0d%0aSet-Cookie:%20a=b",
                           "/v1/fine_tuning/jobs?limit=%0d%0aSet-Cookie:%20a=b"}) {
    const auto reply = client().Get(path);
    ASSERT_TRUE(reply);
    EXPECT_GE(reply->status, 400) << path;
    EXPECT_FALSE(reply->has_header("Set-Cookie")) << path;
  }
}

TEST_F(AttackTest, TemplatesAreNamesAndNeverCode) {
  const std::string file = good_file();
  for (const char* bomb : {"{% for a in range(10**9) %}{{ a }}{% endfor %}",
                           "{{ ''.__class__.__mro__ }}", "../chat_template.jinja", ""}) {
    const json body{{"model", "Qwen2.5-0.5B"}, {"training_file", file}, {"template", bomb}};
    const auto reply = create(body);
    ASSERT_TRUE(reply);
    if (*bomb == '\0') continue;
    EXPECT_EQ(error_of(reply, 400)["param"], "template");
  }
  const json unknown{
      {"model", "Qwen2.5-0.5B"}, {"training_file", file}, {"chat_template", "{{ a }}"}};
  EXPECT_EQ(error_of(create(unknown), 400)["param"], "chat_template");
}

TEST_F(AttackTest, GuessingKeysIsSlowedDownAndTellsNothing) {
  std::string near = key_;
  near.back() = near.back() == 'A' ? 'B' : 'A';
  const std::string far = "tf-" + std::string(43, 'x');
  json error = error_of(client(near).Get("/v1/models"), 401);
  const json other = error_of(client(far).Get("/v1/models"), 401);
  EXPECT_EQ(error["code"], other["code"]);
  EXPECT_EQ(error["message"].get<std::string>().size(), other["message"].get<std::string>().size());
  int refused = 0;
  for (int i = 0; i < 100; ++i) {
    const auto guess = client("tf-guess-" + std::to_string(i)).Get("/v1/models");
    if (guess->status == 401) continue;
    ++refused;
    EXPECT_EQ(error_of(guess, 429)["code"], "rate_limit_exceeded");
    EXPECT_FALSE(guess->get_header_value("retry-after").empty());
  }
  EXPECT_EQ(refused, 100 - 18);
  EXPECT_EQ(client().Get("/v1/models")->status, 200) << "others at the address are not locked out";
  now_ms_ += 1'000;
  error_of(client(far).Get("/v1/models"), 401);
  error_of(client(far).Get("/v1/models"), 429);
}

TEST_F(AttackTest, StrangeAuthorizationIsRefused) {
  for (const std::string& value :
       {std::string("Basic ") + key_, key_, "bearer " + key_, "Bearer  " + key_,
        "Bearer " + key_ + " x", "Bearer " + std::string(5'000, 'k'), std::string("Bearer "),
        "Bearer " + key_.substr(0, key_.size() - 1), "Bearer " + key_ + "%00"}) {
    httplib::Client stranger("127.0.0.1", server_->port());
    error_of(stranger.Get("/v1/models", {{"Authorization", value}}), 401);
  }
  httplib::Client stranger("127.0.0.1", server_->port());
  error_of(stranger.Get("/v1/models?api_key=" + key_), 401);
}

/// A client that asks and never reads holds its connection for the time of one write, no longer.
TEST(SlowReader, LosesItsConnection) {
  HttpServerOptions options;
  options.max_connections = 1;
  options.limits.piece = std::chrono::milliseconds(100);
  const std::string much(16 << 20, 'a');
  std::atomic<bool> asked{false};
  const auto server = HttpServer::start(options, [&](HttpRequest& request) {
    HttpReply reply;
    if (request.raw_path == "/much") reply.body = much;
    asked = true;
    return reply;
  });
  ASSERT_TRUE(server);
  RawClient slow((*server)->port());
  slow.say("GET /much HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!asked && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  const auto ask = [&] {
    RawClient next((*server)->port());
    next.say("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    return next.hear();
  };
  EXPECT_TRUE(ask().starts_with("HTTP/1.1 503")) << "the slow one holds the only connection";
  while (!ask().starts_with("HTTP/1.1 200") && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LT(std::chrono::steady_clock::now(), deadline);
}

}  // namespace
}  // namespace tunefleet::coordinator
