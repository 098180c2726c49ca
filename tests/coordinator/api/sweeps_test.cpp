#include "coordinator/sweep/sweep_reconciler.h"
#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

class SweepsApiTest : public ApiTest {
 protected:
  json good_request(json section = json::object()) {
    json sweep = {{"parameters", {{"lora_rank", {4, 8}}, {"learning_rate", {1e-4, 3e-4}}}},
                  {"metric", "loss"}};
    sweep.update(section);
    return {{"model", "Qwen2.5-0.5B"},
            {"training_file", good_file()},
            {"suffix", "devil"},
            {"sweep", sweep}};
  }
  httplib::Result post(const json& body, const httplib::Headers& headers = {}) {
    return client().Post("/v1/fine_tuning/sweeps", headers, body.dump(), "application/json");
  }
  json made(const json& body) {
    const auto reply = post(body);
    EXPECT_EQ(reply->status, 200) << reply->body;
    return body_of(reply);
  }
  json shown(const std::string& id) {
    return body_of(client().Get("/v1/fine_tuning/sweeps/" + id));
  }
  void look() {
    EXPECT_TRUE(SweepReconciler(store_, *sweeps_, [] {}).look());
  }
};

TEST_F(SweepsApiTest, ASweepTellsItsJobsBeforeTheyAreMade) {
  const json sweep = made(good_request());
  EXPECT_EQ(sweep["object"], "fine_tuning.sweep");
  EXPECT_TRUE(sweep["id"].get<std::string>().starts_with("ftsweep-"));
  EXPECT_EQ(sweep["status"], "running");
  EXPECT_EQ(sweep["metric"], "loss");
  EXPECT_EQ(sweep["job_count"], 4);
  ASSERT_EQ(sweep["jobs"].size(), 4U);
  EXPECT_EQ(sweep["jobs"][0]["state"], "waiting");
  EXPECT_EQ(sweep["jobs"][0]["values"], json({{"learning_rate", 1e-4}, {"lora_rank", 4}}));
  EXPECT_TRUE(sweep["jobs"][0]["job"].is_null());
  EXPECT_TRUE(sweep["best"].is_null());
  EXPECT_EQ(sweep_wakes_, 1);
}

TEST_F(SweepsApiTest, ItsJobsAreJobsLikeOthers) {
  const json sweep = made(good_request({{"max_parallel", 2}}));
  look();
  const json jobs = shown(sweep["id"])["jobs"];
  EXPECT_EQ(jobs[1]["state"], "queued");
  EXPECT_EQ(jobs[2]["state"], "waiting");
  const json job =
      body_of(client().Get("/v1/fine_tuning/jobs/" + jobs[1]["job"].get<std::string>()));
  EXPECT_EQ(job["spec"]["lora_rank"], 8);
  EXPECT_DOUBLE_EQ(job["spec"]["learning_rate"], 1e-4);
  EXPECT_EQ(job["name"], "devil-1");
  EXPECT_EQ(job["group"], sweep["id"]);
}

TEST_F(SweepsApiTest, ShowsTheBestSoFar) {
  const json sweep = made(good_request());
  look();
  const json jobs = shown(sweep["id"])["jobs"];
  for (size_t i = 0; i < 2; ++i) {
    const std::string id = jobs[i]["job"];
    start(id);
    add_event(id, "metrics", "step",
              {{"loss", i == 0 ? 2.5 : 1.5}, {"global_step/max_steps", "5/9"}});
  }
  const json best = shown(sweep["id"])["best"];
  EXPECT_EQ(best["index"], 1);
  EXPECT_EQ(best["metric"], 1.5);
  EXPECT_EQ(best["step"], 5);
}

TEST_F(SweepsApiTest, HalvingSetsHowLongJobsRunAndWhenTheyAreMeasured) {
  json request =
      good_request({{"halving", {{"min_steps", 20}, {"max_steps", 180}}}, {"metric", "eval_loss"}});
  request["split_dataset_ratio"] = 0.5;
  const json sweep = made(request);
  look();
  const auto job = store_.get(shown(sweep["id"])["jobs"][0]["job"].get<std::string>());
  ASSERT_TRUE(job);
  EXPECT_EQ(job->spec["max_steps"], 180);
  EXPECT_EQ(job->spec["eval_strategy"], "steps");
  EXPECT_EQ(job->spec["eval_steps"], 20);
}

TEST_F(SweepsApiTest, AnIdempotencyKeyMakesItOnce) {
  const json request = good_request();
  const httplib::Headers key{{"Idempotency-Key", "k"}};
  const json first = body_of(post(request, key));
  EXPECT_EQ(body_of(post(request, key))["id"], first["id"]);
  json other = request;
  other["suffix"] = "else";
  error_of(post(other, key), 409);
}

TEST_F(SweepsApiTest, ARequestThatIsSentAgainFindsTheSweepOfTheFirst) {
  const json wanted = good_request();
  const json first = body_of(post(wanted))["id"];
  EXPECT_EQ(body_of(post(wanted, {{"x-stainless-retry-count", "1"}}))["id"], first);
  EXPECT_NE(body_of(post(wanted, {{"x-stainless-retry-count", "0"}}))["id"], first);
}

TEST_F(SweepsApiTest, NamesOfJobsAreWholeCharacters) {
  json wanted =
      good_request({{"parameters", {{"lora_rank", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}}}});
  std::string name;
  for (int i = 0; i < 64; ++i) name += "\u00e9";
  wanted["suffix"] = name;
  EXPECT_EQ(made(wanted)["job_count"], 11);
}

TEST_F(SweepsApiTest, ListsPageByPage) {
  const std::string first = made(good_request())["id"], second = made(good_request())["id"];
  const json page = body_of(client().Get("/v1/fine_tuning/sweeps?limit=1"));
  EXPECT_EQ(page["data"][0]["id"], second);
  EXPECT_EQ(page["has_more"], true);
  const json rest = body_of(client().Get("/v1/fine_tuning/sweeps?after=" + second));
  EXPECT_EQ(rest["data"][0]["id"], first);
  EXPECT_EQ(rest["has_more"], false);
}

TEST_F(SweepsApiTest, CancellingStopsWhatWaits) {
  const std::string id = made(good_request())["id"];
  look();
  const auto cancel = [&] {
    return client().Post("/v1/fine_tuning/sweeps/" + id + "/cancel", "{}", "application/json");
  };
  EXPECT_EQ(body_of(cancel())["status"], "cancelling");
  look();
  look();
  EXPECT_EQ(shown(id)["status"], "cancelled");
  EXPECT_EQ(shown(id)["jobs"][0]["state"], "cancelled");
  EXPECT_EQ(body_of(cancel())["status"], "cancelled");
}

TEST_F(SweepsApiTest, ItsDataSetStaysUntilItsLastJobIsMade) {
  const json request = good_request();
  made(request);
  const std::string path = "/v1/files/" + request["training_file"].get<std::string>();
  const json error = error_of(client().Delete(path), 409);
  EXPECT_NE(error["message"].get<std::string>().find("ftsweep-"), std::string::npos) << error;
}

TEST_F(SweepsApiTest, IsNobodyElses) {
  const std::string id = made(good_request())["id"];
  httplib::Client other = client(other_key_);
  const std::string path = "/v1/fine_tuning/sweeps/" + id;
  error_of(other.Get(path), 404);
  error_of(other.Post(path + "/cancel", "{}", "application/json"), 404);
  EXPECT_EQ(body_of(other.Get("/v1/fine_tuning/sweeps"))["data"], json::array());
  EXPECT_EQ(shown(id)["status"], "running");
  error_of(client().Get("/v1/fine_tuning/sweeps/..%2Fjobs"), 404);
}

TEST_F(SweepsApiTest, NamesTheKeyThatIsWrong) {
  const auto param = [&](const json& body) { return error_of(post(body), 400)["param"]; };
  json none = good_request();
  none.erase("sweep");
  EXPECT_EQ(param(none), "sweep");
  EXPECT_EQ(param(good_request({{"metirc", "loss"}})), "sweep.metirc");
  EXPECT_EQ(param(good_request({{"parameters", {{"lora_rnak", {1, 2}}}}})),
            "sweep.parameters.lora_rnak");
  EXPECT_EQ(param(good_request({{"parameters", {{"lora_rank", {4, -1}}}}})),
            "sweep.parameters.lora_rank");
  EXPECT_EQ(param(good_request({{"parameters", {{"suffix", {"a", "b"}}}}})),
            "sweep.parameters.suffix");
  EXPECT_EQ(param(good_request({{"metric", "eval_loss"}})), "sweep.metric");
  json steps = good_request({{"halving", {{"min_steps", 5}, {"max_steps", 50}}}});
  steps["max_steps"] = 7;
  EXPECT_EQ(param(steps), "max_steps");
  const json error = error_of(post(good_request({{"parameters", {{"lora_rank", {4, -1}}}}})), 400);
  EXPECT_NE(error["message"].get<std::string>().find("lora_rank=-1"), std::string::npos);
  EXPECT_EQ(body_of(client().Get("/v1/fine_tuning/sweeps"))["data"], json::array());
}

}  // namespace
}  // namespace tunefleet::coordinator
