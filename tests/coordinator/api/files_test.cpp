#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

const std::string kRows = "{\"query\":\"a\",\"response\":\"b\"}\n";

class FilesApiTest : public ApiTest {};

TEST_F(FilesApiTest, KeepsWhatWasUploadedByteForByte) {
  const json file = body_of(upload(kRows, "../../etc/\"train\".jsonl"));
  EXPECT_EQ(file["object"], "file");
  EXPECT_EQ(file["bytes"], kRows.size());
  EXPECT_EQ(file["purpose"], "fine-tune");
  EXPECT_EQ(file["status"], "processed");
  EXPECT_EQ(file["rows"], 1);
  const std::string id = file["id"];
  EXPECT_EQ(body_of(client().Get("/v1/files/" + id)), file);
  const auto content = client().Get("/v1/files/" + id + "/content");
  ASSERT_TRUE(content);
  EXPECT_EQ(content->body, kRows);
  EXPECT_TRUE(std::filesystem::exists(directory_.path() / "files" / id / "content"));
}

TEST_F(FilesApiTest, TakesTheFilenameAsTextOnly) {
  const json file = body_of(upload(kRows, "../../etc/x.jsonl"));
  EXPECT_EQ(file["filename"], "../../etc/x.jsonl");
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "etc"));
}

TEST_F(FilesApiTest, KeepsALargeFileThatArrivesInPieces) {
  std::string rows;
  while (rows.size() < 3'000'000) rows += "{\"query\":\"\\r\\n--x\",\"response\":\"b\"}\r\n";
  const json file = body_of(upload(rows));
  EXPECT_EQ(file["bytes"], rows.size());
  const auto content = client().Get("/v1/files/" + file["id"].get<std::string>() + "/content");
  ASSERT_TRUE(content);
  EXPECT_TRUE(content->body == rows);
}

TEST_F(FilesApiTest, TellsTheLineOfAMalformedRow) {
  const json file = body_of(upload(kRows + "{\"query\": oops}\n", "train.jsonl"));
  EXPECT_EQ(file["status"], "error");
  EXPECT_NE(file["status_details"].get<std::string>().find("train.jsonl:2"), std::string::npos)
      << file;
}

TEST_F(FilesApiTest, SaysThatAFileHasNoRows) {
  const json blank = body_of(upload("\n\n", "blank.jsonl"));
  EXPECT_EQ(blank["status"], "error");
  EXPECT_EQ(blank["status_details"], "no rows in the file: blank.jsonl");
  EXPECT_EQ(body_of(upload("", "none.jsonl"))["status_details"], "the file is empty: none.jsonl");
}

TEST_F(FilesApiTest, RefusesAnotherPurposeAndAMissingFile) {
  EXPECT_EQ(error_of(upload(kRows, "a", "assistants"), 400)["param"], "purpose");
  const auto without =
      client().Post("/v1/files", httplib::MultipartFormDataItems{{"purpose", "fine-tune", "", ""}});
  EXPECT_EQ(error_of(without, 400)["param"], "file");
  error_of(client().Post("/v1/files", "{}", "application/json"), 400);
}

TEST_F(FilesApiTest, ForgetsAFileWhenItExpires) {
  const auto uploaded = client().Post(
      "/v1/files", httplib::MultipartFormDataItems{{"purpose", "fine-tune", "", ""},
                                                   {"expires_after[anchor]", "created_at", "", ""},
                                                   {"expires_after[seconds]", "3600", "", ""},
                                                   {"file", kRows, "a.jsonl", ""}});
  const json file = body_of(uploaded);
  EXPECT_EQ(file["expires_at"], file["created_at"].get<int64_t>() + 3600);
  now_ms_ += 3'600'000;
  error_of(client().Get("/v1/files/" + file["id"].get<std::string>()), 404);
}

TEST_F(FilesApiTest, ListsInPages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    now_ms_ += 1000;
    ids.push_back(good_file());
  }
  const json first = body_of(client().Get("/v1/files?limit=2"));
  EXPECT_EQ(first["data"][0]["id"], ids[4]);
  EXPECT_TRUE(first["has_more"]);
  const json rest = body_of(client().Get("/v1/files?limit=3&after=" + ids[3]));
  EXPECT_EQ(rest["data"].size(), 3);
  EXPECT_EQ(rest["last_id"], ids[0]);
  EXPECT_FALSE(rest["has_more"]);
  EXPECT_EQ(body_of(client().Get("/v1/files?order=asc"))["data"][0]["id"], ids[0]);
  EXPECT_EQ(error_of(client().Get("/v1/files?limit=0"), 400)["param"], "limit");
  EXPECT_EQ(error_of(client().Get("/v1/files?after=file-x"), 404)["param"], "after");
}

TEST_F(FilesApiTest, DeletesAFileUnlessAJobNeedsIt) {
  const std::string id = waiting_job();
  const std::string file = body_of(client().Get("/v1/fine_tuning/jobs/" + id))["training_file"];
  const auto refused = client().Delete("/v1/files/" + file);
  EXPECT_NE(error_of(refused, 409)["message"].get<std::string>().find(id), std::string::npos);
  EXPECT_EQ(refused->get_header_value("x-should-retry"), "false");
  body_of(client().Post("/v1/fine_tuning/jobs/" + id + "/cancel", "", "application/json"));
  const json deleted = body_of(client().Delete("/v1/files/" + file));
  EXPECT_EQ(deleted, json({{"id", file}, {"object", "file"}, {"deleted", true}}));
  error_of(client().Get("/v1/files/" + file), 404);
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "files" / file));
}

TEST_F(FilesApiTest, AFileOfAPausedJobStays) {
  const std::string id = waiting_job();
  const std::string file = body_of(client().Get("/v1/fine_tuning/jobs/" + id))["training_file"];
  body_of(client().Post("/v1/fine_tuning/jobs/" + id + "/pause", "", "application/json"));
  const std::string message = error_of(client().Delete("/v1/files/" + file), 409)["message"];
  EXPECT_NE(message.find(id + ", which is paused"), std::string::npos) << message;
  body_of(client().Post("/v1/fine_tuning/jobs/" + id + "/resume", "", "application/json"));
  EXPECT_EQ(client().Get("/v1/files/" + file)->status, 200);
}

TEST_F(FilesApiTest, HidesFilesOfOthers) {
  const std::string file = good_file();
  auto other = client(other_key_);
  error_of(other.Get("/v1/files/" + file), 404);
  error_of(other.Get("/v1/files/" + file + "/content"), 404);
  error_of(other.Delete("/v1/files/" + file), 404);
  EXPECT_TRUE(body_of(other.Get("/v1/files"))["data"].empty());
}

TEST_F(FilesApiTest, FindsItsFilesAgainAndDropsBrokenUploads) {
  const json file = body_of(upload(kRows));
  const auto half = directory_.path() / "files" / "upload-half";
  std::filesystem::create_directory(half);
  std::ofstream(half / "content") << "half";
  const auto arriving = directory_.path() / "files" / "upload-arriving";
  std::filesystem::create_directory(arriving);
  const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(2);
  for (const auto& path : {half / "content", half}) {
    std::filesystem::last_write_time(path, long_ago);
  }
  const auto again = FileStore::open(directory_.path() / "files", [] { return int64_t{0}; });
  ASSERT_TRUE(again);
  const auto found = (*again)->get("admin", file["id"]);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->bytes, static_cast<int64_t>(kRows.size()));
  EXPECT_FALSE(std::filesystem::exists(half));
  EXPECT_TRUE(std::filesystem::exists(arriving)) << "another process may be writing it";
}

TEST_F(FilesApiTest, WhatWasMadeAtOneServerIsThereAtAnother) {
  const auto now_s = [this] { return now_ms_.load() / 1000; };
  const auto files = FileStore::open(directory_.path() / "files", now_s).value();
  const auto uploads = UploadStore::open(directory_.path() / "uploads", *files, now_s).value();
  const auto keys = ApiKeys::open(directory_.path(), now_s).value();
  const auto access = ModelAccess::open(directory_.path() / "model_access.json", now_s).value();
  const auto other = ApiServer::start({}, {.jobs = store_,
                                           .sweeps = *sweeps_,
                                           .fleet = fleet_,
                                           .files = *files,
                                           .uploads = *uploads,
                                           .webhooks = *webhooks_,
                                           .keys = *keys,
                                           .models = *models_,
                                           .model_access = *access,
                                           .serving = *serving_,
                                           .jobs_directory = directory_.path() / "jobs",
                                           .audit_path = directory_.path() / "other.jsonl",
                                           .now_ms = [this] { return now_ms_.load(); },
                                           .wake_sweeps = [] {}})
                         .value();
  const std::string file = good_file();
  const std::string key =
      body_of(client().Post("/v1/keys", R"({"tenant":"admin","scopes":["submit"]})",
                            "application/json"))["key"];
  httplib::Client there("127.0.0.1", other->port());
  there.set_default_headers({{"Authorization", "Bearer " + key}});
  const json job{{"model", "Qwen2.5-0.5B"}, {"training_file", file}};
  const json made = body_of(there.Post("/v1/fine_tuning/jobs", job.dump(), "application/json"));
  EXPECT_EQ(made["training_file"], file) << made;
  error_of(client().Delete("/v1/files/" + file), 409);
}

TEST_F(FilesApiTest, TwoProcessesSeeTheSameFiles) {
  const auto other =
      FileStore::open(directory_.path() / "files", [] { return int64_t{0}; }).value();
  EXPECT_TRUE(other->list("admin").empty());
  auto incoming = other->begin_upload().value();
  ASSERT_TRUE(incoming->write(kRows));
  const std::string file = body_of(upload(kRows))["id"];
  ASSERT_TRUE(other->get("admin", file));
  EXPECT_EQ(other->list("admin").size(), 1u);
  const auto theirs = incoming
                          ->commit({.owner = "admin",
                                    .filename = "theirs.jsonl",
                                    .purpose = "fine-tune",
                                    .expires_after_s = std::nullopt})
                          .value();
  EXPECT_EQ(body_of(client().Get("/v1/files/" + theirs.id))["filename"], "theirs.jsonl");
  EXPECT_EQ(body_of(client().Get("/v1/files"))["data"].size(), 2u);
  body_of(client().Delete("/v1/files/" + theirs.id));
  EXPECT_FALSE(other->get("admin", theirs.id));
  EXPECT_EQ(other->list("admin").size(), 1u);
  ASSERT_TRUE(other->remove("admin", file));
  error_of(client().Get("/v1/files/" + file), 404);
  EXPECT_TRUE(body_of(client().Get("/v1/files"))["data"].empty());
}

}  // namespace
}  // namespace tunefleet::coordinator
