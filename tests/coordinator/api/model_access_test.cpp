#include "coordinator/api/model_access.h"

#include <sys/stat.h>

#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

class ModelAccessTest : public testing::Test {
 protected:
  std::filesystem::path path() const { return directory_.path() / "model_access.json"; }
  std::unique_ptr<ModelAccess> open() {
    return ModelAccess::open(path(), [] { return int64_t{7}; }).value();
  }
  TemporaryDirectory directory_;
  const MadeModel model_{.job = "ftjob-1"};
  const MadeModel checkpoint_{.job = "ftjob-1", .step = 3};
};

TEST_F(ModelAccessTest, PermitsExactlyWhatWasGranted) {
  const auto access = open();
  ASSERT_TRUE(access->grant(checkpoint_, {"acme"}));
  EXPECT_TRUE(access->permits(checkpoint_, "acme"));
  EXPECT_FALSE(access->permits(model_, "acme"));
  EXPECT_FALSE(access->permits({.job = "ftjob-1", .step = 4}, "acme"));
  EXPECT_FALSE(access->permits(checkpoint_, "other"));
  EXPECT_EQ(access->granted_to("acme"), std::vector{checkpoint_});
}

TEST_F(ModelAccessTest, GrantsOnce) {
  const auto access = open();
  const auto first = access->grant(model_, {"acme", "beta"}).value();
  const auto again = access->grant(model_, {"beta", "beta", "gamma"}).value();
  EXPECT_EQ(again[0].id, first[1].id);
  EXPECT_EQ(again[1].id, first[1].id);
  EXPECT_EQ(access->permissions(model_).size(), 3);
}

TEST_F(ModelAccessTest, RemembersOverARestartAndSeesAnotherProcess) {
  const auto first = open();
  const auto given = first->grant(checkpoint_, {"acme"}).value();
  const auto second = open();
  EXPECT_TRUE(second->permits(checkpoint_, "acme"));
  ASSERT_TRUE(second->revoke(checkpoint_, given[0].id));
  EXPECT_FALSE(first->permits(checkpoint_, "acme"));
  EXPECT_EQ(second->revoke(checkpoint_, given[0].id).error().code, ErrorCode::kNotFound);
  struct stat status {};
  ::stat(path().c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777, 0600);
}

TEST_F(ModelAccessTest, DeletionTakesEveryPermissionOfTheJob) {
  const auto access = open();
  ASSERT_TRUE(access->grant(model_, {"acme"}));
  ASSERT_TRUE(access->grant(checkpoint_, {"acme"}));
  ASSERT_TRUE(access->grant({.job = "ftjob-2"}, {"acme"}));
  ASSERT_TRUE(access->mark_deleted("ftjob-1"));
  EXPECT_TRUE(open()->is_deleted("ftjob-1"));
  EXPECT_FALSE(open()->is_deleted("ftjob-2"));
  EXPECT_EQ(access->granted_to("acme"), std::vector{MadeModel{.job = "ftjob-2"}});
}

TEST_F(ModelAccessTest, RefusesADamagedFile) {
  std::ofstream(path()) << "{\"permissions\":[{}],\"deleted\":[]}";
  const auto access = ModelAccess::open(path(), [] { return int64_t{7}; });
  ASSERT_FALSE(access);
  EXPECT_EQ(access.error().code, ErrorCode::kDataLoss);
}

class SharedModelsTest : public ApiTest {
 protected:
  /// A finished job of admin's; the model's name.
  std::string tuned() {
    job_ = waiting_job({{"suffix", "devil"}});
    start(job_);
    finish(job_);
    return body_of(client().Get("/v1/fine_tuning/jobs/" + job_))["fine_tuned_model"];
  }
  static std::string permissions_of(const std::string& model) {
    return "/v1/fine_tuning/checkpoints/" + model + "/permissions";
  }
  json share(const std::string& model, const json& tenants = {"someone"}) {
    return body_of(client().Post(permissions_of(model), json{{"project_ids", tenants}}.dump(),
                                 "application/json"));
  }
  /// A request of the other tenant's that starts from `model`.
  httplib::Result continue_from(const std::string& model) {
    auto other = client(other_key_);
    const json file = body_of(other.Post(
        "/v1/files", httplib::MultipartFormDataItems{
                         {"purpose", "fine-tune", "", ""},
                         {"file", "{\"query\":\"a\",\"response\":\"b\"}\n", "a.jsonl", ""}}));
    return other.Post("/v1/fine_tuning/jobs",
                      json{{"model", model}, {"training_file", file["id"]}}.dump(),
                      "application/json");
  }
  std::string job_;
};

TEST_F(SharedModelsTest, APermissionLetsAnotherTenantUseTheModelAndNoMore) {
  const std::string model = tuned();
  auto other = client(other_key_);
  error_of(other.Get("/v1/models/" + model), 404);
  EXPECT_EQ(continue_from(model)->status, 404);
  const json page = share(model);
  EXPECT_EQ(page["data"][0]["object"], "checkpoint.permission");
  EXPECT_EQ(page["data"][0]["project_id"], "someone");
  const json seen = body_of(other.Get("/v1/models/" + model));
  EXPECT_EQ(seen["id"], model);
  EXPECT_TRUE(seen["checkpoint"].is_null() && seen["job"].is_null()) << seen;
  EXPECT_EQ(body_of(other.Get("/v1/models"))["data"].back(), seen);
  const json made = body_of(continue_from(model));
  EXPECT_EQ(made["spec"]["adapters"], json::array({model}));
  EXPECT_EQ(made.dump().find(directory_.path().string()), std::string::npos) << made;
  error_of(other.Get("/v1/models/" + model + ":ckpt-step-7"), 404);
  error_of(other.Get("/v1/fine_tuning/jobs/" + job_), 404);
  error_of(other.Delete("/v1/models/" + model), 404);
  error_of(other.Get(permissions_of(model)), 404);
  error_of(other.Post(permissions_of(model), "{\"project_ids\":[\"third\"]}", "application/json"),
           404);
}

TEST_F(SharedModelsTest, ACheckpointIsSharedByItself) {
  const std::string checkpoint = tuned() + ":ckpt-step-7";
  share(checkpoint);
  EXPECT_EQ(body_of(client(other_key_).Get("/v1/models/" + checkpoint))["id"], checkpoint);
  EXPECT_EQ(continue_from(checkpoint)->status, 200);
  error_of(client(other_key_).Get("/v1/models/" + checkpoint.substr(0, checkpoint.rfind(':'))),
           404);
}

TEST_F(SharedModelsTest, APermissionTakenBackCountsAtOnce) {
  const std::string model = tuned();
  const std::string id = share(model)["data"][0]["id"];
  const json gone = body_of(client().Delete(permissions_of(model) + "/" + id));
  EXPECT_EQ(gone, json({{"id", id}, {"object", "checkpoint.permission"}, {"deleted", true}}));
  error_of(client(other_key_).Get("/v1/models/" + model), 404);
  error_of(client().Delete(permissions_of(model) + "/" + id), 404);
}

TEST_F(SharedModelsTest, ListsPermissionsInPages) {
  const std::string model = tuned();
  share(model, {"a", "b", "c"});
  const auto tenants = [&](const std::string& query) {
    std::string names;
    const json page = body_of(client().Get(permissions_of(model) + query));
    for (const json& each : page["data"]) {
      names += each["project_id"].get<std::string>();
    }
    return names;
  };
  EXPECT_EQ(tenants(""), "cba");
  EXPECT_EQ(tenants("?order=ascending&limit=2"), "ab");
  EXPECT_EQ(tenants("?project_id=b"), "b");
  const json page = body_of(client().Get(permissions_of(model) + "?limit=1"));
  EXPECT_TRUE(page["has_more"]);
  EXPECT_EQ(tenants("?after=" + page["last_id"].get<std::string>()), "ba");
  error_of(client().Get(permissions_of(model) + "?order=desc"), 400);
}

TEST_F(SharedModelsTest, RefusesWrongTenants) {
  const std::string model = tuned();
  for (const char* body : {"{}", "{\"project_ids\":[]}", "{\"project_ids\":[\"a/b\"]}",
                           "{\"project_ids\":[7]}", "{\"project_ids\":\"a\"}"}) {
    const auto reply = client().Post(permissions_of(model), body, "application/json");
    EXPECT_EQ(error_of(reply, 400)["param"], "project_ids") << body;
  }
}

TEST_F(SharedModelsTest, ADeletedModelIsGoneForEverybodyAndFromTheDisk) {
  const std::string model = tuned();
  share(model);
  const auto run = directory_.path() / "jobs" / job_;
  std::ofstream(run / "ranks.log") << "kept\n";
  EXPECT_EQ(body_of(client().Delete("/v1/models/" + model)),
            json({{"id", model}, {"object", "model"}, {"deleted", true}}));
  EXPECT_FALSE(std::filesystem::exists(run / "checkpoint-7"));
  EXPECT_TRUE(std::filesystem::exists(run / "ranks.log"));
  error_of(client().Get("/v1/models/" + model), 404);
  error_of(client().Delete("/v1/models/" + model), 404);
  error_of(client(other_key_).Get("/v1/models/" + model), 404);
  EXPECT_EQ(body_of(client().Get("/v1/models"))["data"].size(), 2);
  EXPECT_EQ(body_of(client(other_key_).Get("/v1/models"))["data"].size(), 2);
  error_of(create({{"model", model}, {"training_file", good_file()}}), 404);
  EXPECT_EQ(body_of(client().Get("/v1/fine_tuning/jobs/" + job_))["status"], "succeeded");
}

TEST_F(SharedModelsTest, AModelThatAJobStartsFromStays) {
  const std::string model = tuned();
  share(model);
  const std::string user = body_of(continue_from(model))["id"];
  const json error = error_of(client().Delete("/v1/models/" + model), 409);
  EXPECT_EQ(error["message"].get<std::string>().find(user), std::string::npos)
      << "names another tenant's job";
  body_of(client(other_key_).Post("/v1/fine_tuning/jobs/" + user + "/cancel", "", ""));
  EXPECT_EQ(client().Delete("/v1/models/" + model)->status, 200);
}

TEST_F(SharedModelsTest, AModelThatAPausedJobStartsFromStays) {
  const std::string model = tuned();
  share(model);
  const std::string user = body_of(continue_from(model))["id"];
  const std::string job = "/v1/fine_tuning/jobs/" + user;
  body_of(client(other_key_).Post(job + "/pause", "", ""));
  ASSERT_EQ(body_of(client(other_key_).Get(job))["state"], "paused");
  error_of(client().Delete("/v1/models/" + model), 409);
  body_of(client(other_key_).Post(job + "/cancel", "", ""));
  EXPECT_EQ(client().Delete("/v1/models/" + model)->status, 200);
}

TEST_F(SharedModelsTest, AUserIsFoundBehindHundredsOfEndedJobs) {
  const std::string model = tuned();
  share(model);
  const std::string user = body_of(continue_from(model))["id"];
  for (int i = 0; i < 450; ++i) {
    const auto job = store_.create({.owner = "someone", .phase = JobPhase::kQueued}, "");
    ASSERT_TRUE(job && store_.request_stop(job->id, StopReason::kCancel, "", 0));
  }
  error_of(client().Delete("/v1/models/" + model), 409);
}

TEST_F(SharedModelsTest, DeletesNeitherBaseModelsNorSingleCheckpoints) {
  const std::string model = tuned();
  error_of(client().Delete("/v1/models/Qwen2.5-0.5B"), 400);
  error_of(client().Delete("/v1/models/none"), 404);
  error_of(client().Delete("/v1/models/" + model + ":ckpt-step-7"), 400);
  EXPECT_EQ(client().Get("/v1/models/" + model)->status, 200);
}

}  // namespace
}  // namespace tunefleet::coordinator
