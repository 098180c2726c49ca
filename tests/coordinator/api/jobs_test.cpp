#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

class JobsApiTest : public ApiTest {
 protected:
  json job(const std::string& id) { return body_of(client().Get("/v1/fine_tuning/jobs/" + id)); }
  json good_request() { return {{"model", "Qwen2.5-0.5B"}, {"training_file", good_file()}}; }
  std::string message_of(const json& body, int status = 400) {
    return error_of(create(body), status)["message"];
  }
};

TEST_F(JobsApiTest, HasEveryFieldAStrictClientNeeds) {
  const json shown = job(waiting_job({{"suffix", "devil"}, {"metadata", {{"team", "a"}}}}));
  EXPECT_EQ(shown["object"], "fine_tuning.job");
  EXPECT_EQ(shown["status"], "queued");
  EXPECT_EQ(shown["model"], "Qwen2.5-0.5B");
  EXPECT_EQ(shown["seed"], 42);
  EXPECT_EQ(shown["organization_id"], "admin");
  EXPECT_EQ(shown["result_files"], json::array());
  EXPECT_EQ(shown["hyperparameters"]["n_epochs"], 3);
  EXPECT_EQ(shown["hyperparameters"]["batch_size"], 16);
  EXPECT_EQ(shown["method"]["type"], "supervised");
  EXPECT_EQ(shown["metadata"], json({{"team", "a"}}));
  for (const char* key : {"fine_tuned_model", "finished_at", "error", "trained_tokens"}) {
    EXPECT_TRUE(shown.at(key).is_null()) << key;
  }
  EXPECT_EQ(shown["queue_position"], 1);
  EXPECT_EQ(shown["pending_reason"], fleet_.queue.reason);
  EXPECT_EQ(shown["name"], "devil");
  EXPECT_EQ(shown["spec"]["dataset"], json::array({shown["training_file"]}));
  EXPECT_EQ(fleet_.wakes, 1);
}

TEST_F(JobsApiTest, ShowsALargeSeedAsItIs) {
  for (const int64_t seed : {INT64_MAX, (int64_t{1} << 53) + 1}) {
    const std::string id = waiting_job({{"seed", seed}});
    EXPECT_EQ(body_of(client().Get("/v1/fine_tuning/jobs/" + id))["seed"], seed);
  }
}

TEST_F(JobsApiTest, CountsCharactersAndNotBytes) {
  std::string suffix, value;
  for (int i = 0; i < 64; ++i) suffix += "\u00e9";
  for (int i = 0; i < 512; ++i) value += "\u00e9";
  waiting_job({{"suffix", suffix}, {"metadata", {{suffix, value}}}});
  const json body{
      {"model", "Qwen2.5-0.5B"}, {"training_file", good_file()}, {"suffix", suffix + "x"}};
  EXPECT_EQ(error_of(create(body), 400)["param"], "suffix");
}

TEST_F(JobsApiTest, HandsAbsolutePathsToTheRanks) {
  const auto stored = store_.get(waiting_job());
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->spec["model"], (directory_.path() / "models/Qwen2.5-0.5B").string());
  EXPECT_TRUE(std::filesystem::exists(stored->spec["dataset"][0].get<std::string>()));
}

TEST_F(JobsApiTest, MapsOpenAiHyperparameters) {
  json request = good_request();
  request["workers"] = 2;
  request["method"] = {
      {"type", "supervised"},
      {"supervised",
       {{"hyperparameters",
         {{"n_epochs", 2}, {"batch_size", 8}, {"learning_rate_multiplier", 0.5}}}}}};
  const json shown = body_of(create(request));
  EXPECT_EQ(shown["spec"]["num_train_epochs"], 2.0);
  EXPECT_EQ(shown["spec"]["gradient_accumulation_steps"], 4);
  EXPECT_DOUBLE_EQ(shown["spec"]["learning_rate"], 0.5e-4);
  EXPECT_EQ(shown["hyperparameters"],
            json({{"n_epochs", 2}, {"batch_size", 8}, {"learning_rate_multiplier", 0.5}}));
}

TEST_F(JobsApiTest, DpoIsAMethodWithBeta) {
  const std::string rows = R"({"input":{"messages":[{"role":"user","content":"q"}]},)"
                           R"("preferred_output":[{"role":"assistant","content":"a"}],)"
                           R"("non_preferred_output":[{"role":"assistant","content":"b"}]})";
  const json file = body_of(upload(rows));
  EXPECT_EQ(file["preferences"], 1);
  json request{{"model", "Qwen2.5-0.5B"}, {"training_file", file["id"]}};
  const json hyperparameters{
      {"n_epochs", 2}, {"batch_size", 4}, {"learning_rate_multiplier", 0.5}, {"beta", 0.2}};
  request["method"] = {{"type", "dpo"}, {"dpo", {{"hyperparameters", hyperparameters}}}};
  const json shown = body_of(create(request));
  EXPECT_EQ(shown["method"], request["method"]);
  EXPECT_EQ(shown["spec"]["rlhf_type"], "dpo");
  EXPECT_EQ(shown["spec"]["beta"], 0.2);
  EXPECT_EQ(shown["spec"]["gradient_accumulation_steps"], 4);
  request["method"]["dpo"]["hyperparameters"] = {{"beta", "auto"}, {"loss_type", "ipo"}};
  const json other = body_of(create(request));
  EXPECT_EQ(other["spec"]["beta"], 0.1);
  EXPECT_EQ(other["spec"]["loss_type"], "ipo");
  EXPECT_EQ(other["method"]["dpo"]["hyperparameters"]["beta"], 0.1);
}

TEST_F(JobsApiTest, RefusesRowsOfAnotherMethod) {
  json request = good_request();
  request["method"] = {{"type", "dpo"}};
  const json error = error_of(create(request), 400);
  EXPECT_EQ(error["param"], "training_file");
  EXPECT_NE(error["message"].get<std::string>().find(
                "train.jsonl: rows without a rejected answer, which DPO learns from: 2 of 2"),
            std::string::npos)
      << error;
  json preferences = good_request();
  preferences["validation_file"] =
      body_of(upload(R"({"query":"q","response":"a"})"
                     "\n"
                     R"({"query":"q","response":"a","rejected_response":"b"})"))["id"];
  EXPECT_NE(message_of(preferences).find("1 of 2, the first on line 2"), std::string::npos);
  request["method"] = {{"type", "reinforcement"}};
  EXPECT_NE(message_of(request).find("method.type: must be supervised or dpo"), std::string::npos);
  request["method"] = {{"type", "dpo"}, {"supervised", json::object()}};
  EXPECT_NE(message_of(request).find("method.supervised: does not belong to the method dpo"),
            std::string::npos);
  json unused = good_request();
  unused["beta"] = 0.2;
  EXPECT_NE(message_of(unused).find("beta: has no use without rlhf_type: dpo"), std::string::npos);
}

TEST_F(JobsApiTest, TakesJobFileKeysBesideAndInsideHyperparameters) {
  json request = good_request();
  request["lora_rank"] = 4;
  request["hyperparameters"] = {{"n_epochs", "auto"}, {"lora_alpha", 16}};
  const json shown = body_of(create(request));
  EXPECT_EQ(shown["spec"]["lora_rank"], 4);
  EXPECT_EQ(shown["spec"]["lora_alpha"], 16.0);
  EXPECT_EQ(shown["spec"]["num_train_epochs"], 3.0);
}

TEST_F(JobsApiTest, NamesTheNearestKey) {
  json request = good_request();
  request["lora_rnak"] = 4;
  const json error = error_of(create(request), 400);
  EXPECT_EQ(error["param"], "lora_rnak");
  EXPECT_NE(error["message"].get<std::string>().find("lora_rank"), std::string::npos) << error;
  json other = good_request();
  other["traning_file"] = "x";
  EXPECT_NE(message_of(other).find("training_file"), std::string::npos);
}

TEST_F(JobsApiTest, TellsEveryProblemAtOnce) {
  const std::string text = message_of({{"model", "nope"},
                                       {"training_file", "file-none"},
                                       {"workers", 0},
                                       {"n_epochs", -1},
                                       {"integrations", json::array({1})},
                                       {"metadata", {{"k", 5}}}});
  for (const char* part : {"model: ", "training_file: ", "workers: ", "n_epochs: ",
                           "integrations: ", "metadata.k: "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  }
}

TEST_F(JobsApiTest, NamesTheModelsThatAreThere) {
  json request = good_request();
  request["model"] = "Qwen2.5";
  const json error = error_of(create(request), 404);
  EXPECT_EQ(error["code"], "model_not_found");
  EXPECT_NE(error["message"].get<std::string>().find("Qwen2.5-0.5B, SmolLM2-135M-Instruct"),
            std::string::npos)
      << error;
}

TEST_F(JobsApiTest, RefusesUnusableData) {
  json request = good_request();
  request["training_file"] = "file-unknown";
  EXPECT_EQ(error_of(create(request), 400)["param"], "training_file");
  request["training_file"] =
      body_of(upload("{\"query\":\"a\",\"response\":\"b\"}\n{]\n", "rows.jsonl"))["id"];
  EXPECT_NE(message_of(request).find("rows.jsonl:2"), std::string::npos);
  request["training_file"] = body_of(upload(""))["id"];
  EXPECT_NE(message_of(request).find("training_file"), std::string::npos);
  request.erase("training_file");
  EXPECT_NE(message_of(request).find("is missing"), std::string::npos);
  auto other = client(other_key_);
  const auto stolen = other.Post("/v1/fine_tuning/jobs", good_request().dump(), "application/json");
  EXPECT_EQ(error_of(stolen, 400)["param"], "training_file");
}

TEST_F(JobsApiTest, TakesNoPathsFromClients) {
  json request = good_request();
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, json>>{{"model", "/etc"},
                                                 {"model", "../models/Qwen2.5-0.5B"},
                                                 {"adapters", {"/etc"}},
                                                 {"resume_from_checkpoint", "/etc"},
                                                 {"output_dir", "/tmp/x"}}) {
    json bad = request;
    bad[key] = value;
    const auto reply = create(bad);
    ASSERT_TRUE(reply);
    EXPECT_TRUE(reply->status == 400 || reply->status == 404) << key << reply->body;
  }
  request.erase("training_file");
  request["dataset"] = {"/etc/passwd"};
  EXPECT_NE(message_of(request).find("no such file"), std::string::npos);
}

TEST_F(JobsApiTest, RefusesWhatIsNotAJsonObject) {
  const auto post = [&](const std::string& text) {
    return client().Post("/v1/fine_tuning/jobs", text, "application/json");
  };
  error_of(post("{\"model\": "), 400);
  error_of(post("[1]"), 400);
  error_of(post("{\"a\": \"\xff\xfe\"}"), 400);
  error_of(post("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}"), 400);
  error_of(post(std::string(2 << 20, ' ')), 413);
  error_of(post(""), 400);
}

TEST_F(JobsApiTest, ContinuesFromATunedModel) {
  const std::string id = waiting_job({{"suffix", "first"}});
  start(id);
  finish(id);
  const std::string tuned = job(id)["fine_tuned_model"];
  EXPECT_EQ(tuned, "ft:Qwen2.5-0.5B:admin:first:" + id.substr(6));
  json request = good_request();
  request["model"] = tuned;
  const json shown = body_of(create(request));
  EXPECT_EQ(shown["model"], "Qwen2.5-0.5B");
  const auto stored = store_.get(shown["id"]);
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->spec["adapters"],
            json::array({(directory_.path() / "jobs" / id / "checkpoint-7").string()}));
}

TEST_F(JobsApiTest, ShowsProgressResultAndFailure) {
  const std::string id = waiting_job();
  start(id);
  ASSERT_TRUE(store_.set_progress(id, 1, {{"step", 3}, {"max_steps", 9}, {"remaining_s", 60.5}}));
  json shown = job(id);
  EXPECT_EQ(shown["status"], "running");
  EXPECT_EQ(shown["progress"]["step"], 3);
  EXPECT_EQ(shown["estimated_finish"], now_ms_ / 1000 + 60);
  EXPECT_EQ(shown["agent"], "node-a");
  EXPECT_TRUE(shown["queue_position"].is_null());
  const json failure{{"rank", 1}, {"host", "node-a"}, {"code", "unavailable"}, {"message", "x"}};
  ASSERT_TRUE(store_.transition(
      id, 1, JobPhase::kRunning, JobPhase::kFailed,
      {.error = Error{ErrorCode::kUnavailable, "rank 1 on node-a: killed by SIGKILL"},
       .failure = failure,
       .event_level = "error",
       .event_message = "failed"}));
  shown = job(id);
  EXPECT_EQ(shown["status"], "failed");
  EXPECT_EQ(shown["error"]["code"], "unavailable");
  EXPECT_EQ(shown["error"]["message"], "rank 1 on node-a: killed by SIGKILL");
  EXPECT_EQ(shown["failure"], failure);
  EXPECT_TRUE(shown["finished_at"].is_number());
}

TEST_F(JobsApiTest, CancelsOnceAndThenConflicts) {
  const std::string id = waiting_job();
  const std::string path = "/v1/fine_tuning/jobs/" + id + "/cancel";
  EXPECT_EQ(body_of(client().Post(path, "", "application/json"))["status"], "cancelled");
  const auto again = client().Post(path, "", "application/json");
  error_of(again, 409);
  EXPECT_EQ(again->get_header_value("x-should-retry"), "false");
}

TEST_F(JobsApiTest, ACancelThatIsSentAgainFindsTheJobCancelled) {
  const std::string path = "/v1/fine_tuning/jobs/" + waiting_job() + "/cancel";
  const auto cancel = [&](const char* tries) {
    return client().Post(path, {{"x-stainless-retry-count", tries}}, "", "application/json");
  };
  EXPECT_EQ(body_of(cancel("0"))["status"], "cancelled");
  EXPECT_EQ(body_of(cancel("1"))["status"], "cancelled");
  error_of(cancel("0"), 409);
  const std::string done = waiting_job();
  start(done);
  finish(done);
  error_of(client().Post("/v1/fine_tuning/jobs/" + done + "/cancel",
                         {{"x-stainless-retry-count", "1"}}, "", "application/json"),
           409);
}

TEST_F(JobsApiTest, ListsNewestFirstInPagesAndByMetadata) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    now_ms_ += 1000;
    ids.push_back(waiting_job({{"metadata", {{"odd", i % 2 ? "yes" : "no"}}}}));
  }
  now_ms_ += 1000;
  ids.push_back(waiting_job());
  const json first = body_of(client().Get("/v1/fine_tuning/jobs?limit=2"));
  EXPECT_EQ(first["data"][0]["id"], ids[5]);
  EXPECT_TRUE(first["has_more"]);
  const json next = body_of(client().Get("/v1/fine_tuning/jobs?after=" + ids[4]));
  EXPECT_EQ(next["data"].size(), 4);
  EXPECT_FALSE(next["has_more"]);
  const json odd = body_of(client().Get("/v1/fine_tuning/jobs?metadata%5Bodd%5D=yes"));
  ASSERT_EQ(odd["data"].size(), 2);
  EXPECT_EQ(odd["data"][0]["id"], ids[3]);
  EXPECT_EQ(body_of(client().Get("/v1/fine_tuning/jobs?metadata=null"))["data"].size(), 1);
  EXPECT_TRUE(body_of(client(other_key_).Get("/v1/fine_tuning/jobs"))["data"].empty());
}

TEST_F(JobsApiTest, HidesJobsOfOthers) {
  const std::string path = "/v1/fine_tuning/jobs/" + waiting_job();
  auto other = client(other_key_);
  for (const char* rest : {"", "/events", "/checkpoints", "/logs"}) {
    error_of(other.Get(path + rest), 404);
  }
  error_of(other.Post(path + "/cancel", "", "application/json"), 404);
  error_of(client().Get("/v1/fine_tuning/jobs/..%2F..%2Fkeys"), 404);
}

TEST_F(JobsApiTest, GivesTheSameJobToARetriedRequest) {
  const json request = good_request();
  const json made = body_of(create(request));
  const json retried = body_of(create(request, {{"x-stainless-retry-count", "1"}}));
  EXPECT_EQ(retried["id"], made["id"]);
  const json on_purpose = body_of(create(request, {{"x-stainless-retry-count", "0"}}));
  EXPECT_NE(on_purpose["id"], made["id"]);
  now_ms_ += 11 * 60 * 1000;
  const json late = body_of(create(request, {{"x-stainless-retry-count", "1"}}));
  EXPECT_NE(late["id"], made["id"]);
}

TEST_F(JobsApiTest, MakesOneJobThoughTheStoresReplyWasLost) {
  const json request = good_request();
  store_.lose_replies = 1;
  error_of(create(request), 503);
  const json retried = body_of(create(request, {{"x-stainless-retry-count", "1"}}));
  EXPECT_EQ(body_of(client().Get("/v1/fine_tuning/jobs"))["data"].size(), 1);
  EXPECT_EQ(retried["status"], "queued");
}

TEST_F(JobsApiTest, HonoursAnIdempotencyKey) {
  const json request = good_request();
  const httplib::Headers key{{"Idempotency-Key", "once"}};
  const json made = body_of(create(request, key));
  EXPECT_EQ(body_of(create(request, key))["id"], made["id"]);
  json another = request;
  another["seed"] = 7;
  const auto reused = create(another, key);
  error_of(reused, 409);
  EXPECT_EQ(reused->get_header_value("x-should-retry"), "false");
}

TEST_F(JobsApiTest, ReadsTheRanksOutputInPieces) {
  const std::string id = waiting_job();
  const std::string path = "/v1/fine_tuning/jobs/" + id + "/logs";
  EXPECT_EQ(client().Get(path)->body, "");
  std::filesystem::create_directories(directory_.path() / "jobs" / id);
  std::ofstream(directory_.path() / "jobs" / id / "ranks.log") << "hello\nworld\n";
  const auto all = client().Get(path);
  EXPECT_EQ(all->body, "hello\nworld\n");
  EXPECT_EQ(all->get_header_value("x-next-offset"), "12");
  EXPECT_EQ(client().Get(path + "?offset=6")->body, "world\n");
  EXPECT_EQ(client().Get(path + "?offset=99")->body, "");
}

TEST_F(JobsApiTest, ShowsModelsAndAdapters) {
  const std::string id = waiting_job({{"suffix", "devil"}});
  start(id);
  finish(id);
  const json models = body_of(client().Get("/v1/models"));
  ASSERT_EQ(models["data"].size(), 3);
  EXPECT_EQ(models["data"][0]["id"], "Qwen2.5-0.5B");
  const std::string tuned = models["data"][2]["id"];
  EXPECT_EQ(tuned, "ft:Qwen2.5-0.5B:admin:devil:" + id.substr(6));
  EXPECT_EQ(body_of(client().Get("/v1/models/" + tuned))["id"], tuned);
  EXPECT_EQ(body_of(client().Get("/v1/models/" + tuned + ":ckpt-step-7"))["job"], id);
  error_of(client().Get("/v1/models/" + tuned + ":ckpt-step-8"), 404);
  error_of(client().Get("/v1/models/Qwen%2FQwen2.5-0.5B"), 404);
  error_of(client(other_key_).Get("/v1/models/" + tuned), 404);
  EXPECT_EQ(body_of(client(other_key_).Get("/v1/models"))["data"].size(), 2);
}

TEST_F(JobsApiTest, ShowsTheFleet) {
  const std::string id = waiting_job();
  fleet_.view[0].jobs = {id};
  const json fleet = body_of(client().Get("/v1/fleet"));
  EXPECT_EQ(fleet["agents"][0]["host"], "node-a");
  EXPECT_EQ(fleet["agents"][0]["jobs"], json::array({id}));
  EXPECT_EQ(fleet["queued"], 1);
  EXPECT_EQ(body_of(client(other_key_).Get("/v1/fleet"))["agents"][0]["jobs"], json::array());
}

TEST_F(JobsApiTest, Answers503WhileTheStoreIsGoneAndRecovers) {
  const std::string id = waiting_job();
  store_.cut_off = true;
  for (const auto& path : {"/healthz", "/v1/fine_tuning/jobs", "/v1/models"}) {
    error_of(client().Get(path), 503);
  }
  error_of(client().Get("/v1/fine_tuning/jobs/" + id), 503);
  error_of(create(good_request()), 503);
  store_.cut_off = false;
  EXPECT_EQ(job(id)["status"], "queued");
  EXPECT_EQ(body_of(client().Get("/healthz")), json({{"status", "ok"}}));
}

}  // namespace
}  // namespace tunefleet::coordinator
