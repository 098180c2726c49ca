#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "tests/coordinator/api/api_fixture.h"
#include "tests/coordinator/api/raw_client.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

/// What one request, or one tenant, would take of everybody's time, memory and connections.
class CostlyRequestTest : public ApiTest {
 protected:
  std::string with_key(const std::string& line, const std::string& headers = "") {
    return line + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key_ + "\r\n" + headers +
           "\r\n";
  }
};

/// A product of these is 0 in 64 bits, and a division by it ends the process.
TEST_F(CostlyRequestTest, ProductsOfHugeCountsAreRefusedOnEveryRouteThatTakesAJob) {
  const std::string file = good_file();
  const std::vector<json> counts{
      {{"per_device_train_batch_size", 4611686018427387904}, {"workers", 4}},
      {{"per_device_train_batch_size", 4}, {"gradient_accumulation_steps", 4611686018427387904}},
      {{"num_train_epochs", 1e300}},
      {{"vera_rank", 4611686018427387904}, {"tuner_type", "vera"}},
      {{"tuners", {{"a", {{"type", "lora"}, {"r", 4611686018427387904}}}}}}};
  for (json body : counts) {
    body.update({{"model", "Qwen2.5-0.5B"}, {"training_file", file}});
    for (const char* path : {"/v1/fine_tuning/jobs/plan", "/v1/fine_tuning/jobs"}) {
      error_of(client().Post(path, body.dump(), "application/json"), 400);
    }
    body["sweep"] = {{"parameters", {{"lora_alpha", {1, 2}}}}, {"metric", "loss"}};
    error_of(client().Post("/v1/fine_tuning/sweeps", body.dump(), "application/json"), 400);
  }
}

TEST_F(CostlyRequestTest, AKeyThatStandsTwiceIsRefused) {
  for (const char* body : {R"({"model":"a","model":"b"})", R"({"metadata":{"k":"1","k":"2"}})",
                           R"({"a":[{"x":{}},{"b":1,"c":[{}],"b":2}]})", R"({"\u0061":1,"a":2})"}) {
    const json error =
        error_of(client().Post("/v1/fine_tuning/jobs", body, "application/json"), 400);
    EXPECT_NE(error["message"].get<std::string>().find("twice"), std::string::npos)
        << body << error;
  }
  const json error = error_of(
      client().Post("/v1/fine_tuning/jobs", R"({"a":[{"x":1},{"x":1}],"x":1})", "application/json"),
      400);
  EXPECT_EQ(error["message"].get<std::string>().find("twice"), std::string::npos) << error;
}

/// What one small body may cost: none of these took less than seconds, or tens of megabytes.
TEST_F(CostlyRequestTest, BodiesOfNothingButNamesAreCheap) {
  const std::string file = good_file();
  json misspelt{{"model", "Qwen2.5-0.5B"}, {"training_file", file}};
  for (int i = 0; i < 40'000; ++i) misspelt["lora_ranq" + std::to_string(i)] = 1;
  json files{{"model", "Qwen2.5-0.5B"}, {"dataset", std::vector<std::string>(200'000, "x")}};
  json few_files{{"model", "Qwen2.5-0.5B"}, {"dataset", std::vector<std::string>(900, "x")}};
  json adapters{{"model", "Qwen2.5-0.5B"},
                {"training_file", file},
                {"adapters", std::vector<std::string>(30'000, "ftjob-" + std::string(24, 'a'))}};
  json tuners{{"model", "Qwen2.5-0.5B"}, {"training_file", file}};
  for (int i = 0; i < 30'000; ++i) tuners["tuners"]["t" + std::to_string(i)] = {{"type", "lora"}};
  json lists{{"model", "Qwen2.5-0.5B"}, {"training_file", file}};
  lists["target_modules"] = std::vector<std::vector<int>>(200'000);
  for (const json& body : {misspelt, files, few_files, adapters, tuners, lists}) {
    const auto begun = std::chrono::steady_clock::now();
    const auto reply = create(body);
    error_of(reply, 400);
    EXPECT_LT(reply->body.size(), 20'000);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  }
}

TEST_F(CostlyRequestTest, SweepsOfManyValuesOrMuchTextAreCheap) {
  json body{{"model", "Qwen2.5-0.5B"}, {"training_file", good_file()}, {"max_steps", 1}};
  std::vector<int> many(60'000);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<int>(i);
  const std::vector<int> few(many.begin(), many.begin() + 64);
  const auto ask = [&](const json& sweep) {
    body["sweep"] = sweep;
    const auto begun = std::chrono::steady_clock::now();
    error_of(client().Post("/v1/fine_tuning/sweeps", body.dump(), "application/json"), 400);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  };
  ask({{"metric", "loss"}, {"parameters", {{"seed", many}}}});
  ask({{"metric", "loss"},
       {"parameters", {{"seed", many}}},
       {"strategy", "random"},
       {"samples", 2}});
  ask({{"metric", "loss"}, {"parameters", {{"seed", few}, {"lora_rank", many}}}});
  body["system"] = std::string(900'000, 'x');
  ask({{"metric", "loss"}, {"parameters", {{"seed", few}}}});
}

/// A row of many small values takes eighteen times its size while it is parsed.
TEST_F(CostlyRequestTest, ManyUploadsAtOnceAreNotAllParsedAtOnce) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "memory is the sanitizer's";
#endif
  std::string row = R"({"query":"a","response":"b","x":[)";
  while (row.size() < (6 << 20)) row += "1,1,1,1,1,1,1,1,";
  row += "1]}\n";
  const std::string head =
      "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
      "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n";
  const std::string tail = "\r\n--b--\r\n";
  const auto memory_mib = [](const std::string& name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(name))
        return std::stol(line.substr(line.find_first_of("0123456789"))) / 1024;
    }
    return 0L;
  };
  std::ofstream("/proc/self/clear_refs") << "5";  // The peak is from here on.
  const long before = memory_mib("VmRSS");
  std::atomic<int> kept{0};
  std::vector<std::thread> uploads;
  for (int i = 0; i < 10; ++i) {
    uploads.emplace_back([&] {
      RawClient raw(server_->port());
      raw.say(with_key("POST /v1/files",
                       "Connection: close\r\n"
                       "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: " +
                           std::to_string(head.size() + row.size() + tail.size()) + "\r\n") +
              head);
      raw.say(row);
      raw.say(tail);
      if (raw.hear(30'000).starts_with("HTTP/1.1 200")) ++kept;
    });
  }
  for (auto& upload : uploads) upload.join();
  EXPECT_EQ(kept, 10);
  EXPECT_LT(memory_mib("VmHWM") - before, 500) << "ten at once took more than a gigabyte";
}

/// Keys and permissions are in one file each, which the service reads as a whole.
TEST_F(CostlyRequestTest, OneTenantDoesNotFillTheFilesThatAllNeed) {
  const std::string small = key_of("small", Scope::kAdmin);
  const auto path = directory_.path() / "keys" / "api_keys.json";
  json stored = json::parse(std::ifstream(path));
  json entry = stored["keys"].back();
  ASSERT_EQ(entry["owner"], "small");
  for (size_t i = 1; i < ApiKeys::kMaxPerTenant; ++i) {
    entry["id"] = "key-" + std::to_string(i);
    entry["sha256"] = std::to_string(i);
    stored["keys"].push_back(entry);
  }
  stored["keys"].back()["expires_at"] = now_ms_ / 1000 + 60;
  std::ofstream(path) << stored;
  const auto ask = [&] {
    return client(small).Post("/v1/keys", R"({"scopes":["read"]})", "application/json");
  };
  EXPECT_EQ(error_of(ask(), 429)["code"], "too_many_keys");
  EXPECT_EQ(client().Post("/v1/keys", R"({"scopes":["read"]})", "application/json")->status, 200);
  now_ms_ += 61'000;
  EXPECT_EQ(ask()->status, 200) << "an expired key makes room";
  error_of(ask(), 429);
  const MadeModel model{.job = "ftjob-a"};
  for (size_t i = 0; i < ModelAccess::kMaxPerModel; i += 100) {
    std::vector<std::string> tenants;
    for (size_t k = 0; k < 100; ++k) tenants.push_back("t" + std::to_string(i + k));
    ASSERT_TRUE(model_access_->grant(model, tenants));
  }
  const auto full = model_access_->grant(model, {"one-more"});
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(model_access_->grant(model, {"t1"})) << "that one is there already";
}

/// Streams that nobody reads hold connections; one tenant may not hold them all.
TEST_F(CostlyRequestTest, OneTenantsStreamsLeaveConnectionsToOthers) {
  serve({.at_once = 5});
  const std::string id = waiting_job();
  std::vector<std::unique_ptr<RawClient>> followers;
  const auto begin = [&] {
    followers.push_back(std::make_unique<RawClient>(server_->port()));
    followers.back()->say(with_key("GET /v1/fine_tuning/jobs/" + id + "/events?stream=true"));
    return followers.back()->hear(300);
  };
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(begin().starts_with("HTTP/1.1 200")) << i;
  const json error = error_of(client().Get("/v1/models"), 429);
  EXPECT_EQ(error["code"], "rate_limit_exceeded");
  EXPECT_EQ(client(other_key_).Get("/v1/models")->status, 200);
  followers.clear();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (client().Get("/v1/models")->status != 200 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(client().Get("/v1/models")->status, 200) << "seats come back with the connections";
}

}  // namespace
}  // namespace tunefleet::coordinator
