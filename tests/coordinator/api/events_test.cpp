#include <chrono>
#include <thread>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

class EventsApiTest : public ApiTest {
 protected:
  std::string events_path(const std::string& id) {
    return "/v1/fine_tuning/jobs/" + id + "/events";
  }

  /// Reads the stream to its end and gives its data lines.
  std::vector<std::string> follow(const std::string& id, const std::string& query = "") {
    std::string text;
    auto reader = client();
    const auto result =
        reader.Get(events_path(id) + "?stream=true" + query, [&](const char* data, size_t size) {
          text.append(data, size);
          return true;
        });
    EXPECT_TRUE(result);
    std::vector<std::string> lines;
    for (size_t at = 0; (at = text.find("data: ", at)) != std::string::npos; at += 6) {
      lines.push_back(text.substr(at + 6, text.find("\n\n", at) - at - 6));
    }
    return lines;
  }
};

TEST_F(EventsApiTest, ListsNewestFirstInPages) {
  const std::string id = waiting_job();
  start(id);
  for (int i = 0; i < 5; ++i) add_event(id, "metrics", "step", {{"loss", i}});
  const json first = body_of(client().Get(events_path(id) + "?limit=3"));
  EXPECT_EQ(first["data"][0]["data"]["loss"], 4);
  EXPECT_EQ(first["data"][0]["type"], "metrics");
  EXPECT_EQ(first["data"][0]["object"], "fine_tuning.job.event");
  EXPECT_TRUE(first["has_more"]);
  const std::string last = first["last_id"];
  const json rest = body_of(client().Get(events_path(id) + "?after=" + last));
  EXPECT_EQ(rest["data"][0]["data"]["loss"], 1);
  EXPECT_FALSE(rest["has_more"]);
  EXPECT_EQ(rest["data"].back()["number"], 1);
  EXPECT_EQ(error_of(client().Get(events_path(id) + "?after=ftevent-x"), 404)["param"], "after");
}

TEST_F(EventsApiTest, StreamsEveryEventOnceAndEndsWithTheJob) {
  const std::string id = waiting_job();
  start(id);
  std::thread job([&] {
    for (int i = 0; i < 150; ++i) {
      add_event(id, "metrics", "step", {{"loss", i}});
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    finish(id);
  });
  const auto lines = follow(id);
  job.join();
  ASSERT_GE(lines.size(), 3);
  EXPECT_EQ(lines.back(), "[DONE]");
  int64_t expected = 1;
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    EXPECT_EQ(json::parse(lines[i])["number"], expected++);
  }
  EXPECT_EQ(json::parse(lines[lines.size() - 2])["message"], "finished");
}

TEST_F(EventsApiTest, StreamIsTrueOrFalse) {
  const std::string id = waiting_job();
  EXPECT_EQ(client().Get(events_path(id) + "?stream=false")->status, 200);
  EXPECT_EQ(error_of(client().Get(events_path(id) + "?stream=yes"), 400)["param"], "stream");
  EXPECT_EQ(error_of(client().Get(events_path(id) + "?stream=true&limit=0"), 400)["param"],
            "limit");
}

TEST_F(EventsApiTest, StreamsOnFromAnEvent) {
  const std::string id = waiting_job();
  start(id);
  add_event(id, "message", "seen");
  const std::string seen = body_of(client().Get(events_path(id)))["data"][0]["id"];
  add_event(id, "message", "new");
  finish(id);
  const auto lines = follow(id, "&after=" + seen);
  ASSERT_EQ(lines.size(), 3);
  EXPECT_EQ(json::parse(lines[0])["message"], "new");
}

TEST_F(EventsApiTest, KeepsFollowingWhenTheStoreComesBack) {
  const std::string id = waiting_job();
  start(id);
  std::thread job([&] {
    store_.cut_off = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    finish(id);
    store_.cut_off = false;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::string text;
  auto reader = client();
  auto result = reader.Get(events_path(id) + "?stream=true");
  job.join();
  ASSERT_TRUE(result);
  if (result->status == 503) result = reader.Get(events_path(id) + "?stream=true");
  EXPECT_TRUE(result->body.ends_with("data: [DONE]\n\n")) << result->body;
}

TEST_F(EventsApiTest, ServesManyFollowersAndStopsAtOnce) {
  const std::string id = waiting_job();
  std::vector<std::thread> followers;
  std::atomic<int> ended{0};
  for (int i = 0; i < 40; ++i) {
    followers.emplace_back([&] {
      auto reader = client();
      reader.Get(events_path(id) + "?stream=true");
      ++ended;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(body_of(client().Get("/healthz"))["status"], "ok");
  EXPECT_EQ(ended, 0);
  const auto before = std::chrono::steady_clock::now();
  server_->stop();
  for (auto& follower : followers) follower.join();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(3));
}

TEST_F(EventsApiTest, ListsCheckpoints) {
  const std::string id = waiting_job({{"suffix", "devil"}});
  start(id);
  for (int step : {2, 4, 6}) {
    add_event(id, "metrics", "step", {{"loss", 1.0}});
    add_event(id, "checkpoint", "saved",
              {{"path", "/x/checkpoint-" + std::to_string(step)},
               {"step", step},
               {"metrics", {{"loss", 1.5}, {"eval_loss", 1.25}}}});
  }
  const std::string path = "/v1/fine_tuning/jobs/" + id + "/checkpoints";
  const json first = body_of(client().Get(path + "?limit=2"));
  EXPECT_TRUE(first["has_more"]);
  const json& newest = first["data"][0];
  EXPECT_EQ(newest["object"], "fine_tuning.job.checkpoint");
  EXPECT_EQ(newest["step_number"], 6);
  EXPECT_EQ(newest["fine_tuning_job_id"], id);
  EXPECT_EQ(newest["metrics"]["train_loss"], 1.5);
  EXPECT_EQ(newest["metrics"]["full_valid_loss"], 1.25);
  EXPECT_EQ(newest["fine_tuned_model_checkpoint"],
            "ft:Qwen2.5-0.5B:admin:devil:" + id.substr(6) + ":ckpt-step-6");
  const json rest = body_of(client().Get(path + "?after=" + first["last_id"].get<std::string>()));
  ASSERT_EQ(rest["data"].size(), 1);
  EXPECT_EQ(rest["data"][0]["step_number"], 2);
  const json event = body_of(client().Get(events_path(id)))["data"][0];
  EXPECT_EQ(event["type"], "message");
  EXPECT_EQ(event["kind"], "checkpoint");
}

}  // namespace
}  // namespace tunefleet::coordinator
