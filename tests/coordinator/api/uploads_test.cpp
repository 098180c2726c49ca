#include <gmock/gmock.h>

#include <fstream>
#include <thread>

#include "coordinator/api/upload_rules.h"
#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kFirst = "{\"query\":\"a\",\"response\":\"b\"}\n";
const std::string kSecond = "{\"query\":\"c\",\"response\":\"d\"}\n";
constexpr const char* kJson = "application/json";

class UploadsApiTest : public ApiTest {
 protected:
  httplib::Result create_upload(const json& more = json::object()) {
    json body{{"filename", "../train.jsonl"},
              {"purpose", "fine-tune"},
              {"bytes", kFirst.size() + kSecond.size()},
              {"mime_type", "application/jsonl"}};
    body.update(more);
    return client().Post("/v1/uploads", body.dump(), kJson);
  }
  std::string new_upload(const json& more = json::object()) {
    return body_of(create_upload(more)).at("id");
  }
  httplib::Result send_part(const std::string& upload, const std::string& data) {
    return client().Post(
        "/v1/uploads/" + upload + "/parts",
        httplib::MultipartFormDataItems{{"data", data, "upload", "application/octet-stream"}});
  }
  std::string part(const std::string& upload, const std::string& data) {
    return body_of(send_part(upload, data)).at("id");
  }
  httplib::Result complete(const std::string& upload, const std::vector<std::string>& parts,
                           const json& more = json::object()) {
    json body{{"part_ids", parts}};
    body.update(more);
    return client().Post("/v1/uploads/" + upload + "/complete", body.dump(), kJson);
  }
  httplib::Result cancel(const std::string& upload) {
    return client().Post("/v1/uploads/" + upload + "/cancel", "", kJson);
  }
  std::string content(const json& file) {
    return client().Get("/v1/files/" + file.at("id").get<std::string>() + "/content")->body;
  }
  /// Files under the uploads' directory, records and locks left out.
  size_t stored_parts() const {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(directory_.path() / "uploads")) {
      const auto name = entry.path().filename();
      count += entry.is_regular_file() && name != "upload.json" && name != "lock" ? 1 : 0;
    }
    return count;
  }
  /// What a coordinator finds that starts on the same directory.
  std::unique_ptr<UploadStore> reopened() {
    return UploadStore::open(directory_.path() / "uploads", *files_,
                             [this] { return now_ms_.load() / 1000; })
        .value();
  }
};

TEST_F(UploadsApiTest, JoinsThePartsInTheOrderGiven) {
  const json upload = body_of(create_upload());
  EXPECT_EQ(upload["object"], "upload");
  EXPECT_EQ(upload["status"], "pending");
  EXPECT_EQ(upload["filename"], "../train.jsonl");
  EXPECT_EQ(upload["expires_at"], upload["created_at"].get<int64_t>() + 3600);
  EXPECT_TRUE(upload["file"].is_null());
  const auto second = part(upload["id"], kSecond);
  const json first = body_of(send_part(upload["id"], kFirst));
  EXPECT_EQ(first["object"], "upload.part");
  EXPECT_EQ(first["upload_id"], upload["id"]);
  const json done = body_of(complete(upload["id"], {first["id"], second}));
  EXPECT_EQ(done["status"], "completed");
  EXPECT_EQ(done["file"]["status"], "processed");
  EXPECT_EQ(done["file"]["rows"], 2);
  EXPECT_EQ(done["file"]["filename"], "../train.jsonl");
  EXPECT_EQ(content(done["file"]), kFirst + kSecond);
  EXPECT_EQ(stored_parts(), 0u);
}

TEST_F(UploadsApiTest, CompletesOnceHoweverOftenItIsAsked) {
  const auto upload = new_upload();
  const std::vector<std::string> parts{part(upload, kFirst), part(upload, kSecond)};
  const json done = body_of(complete(upload, parts));
  EXPECT_EQ(body_of(complete(upload, parts)), done);
  EXPECT_EQ(body_of(client().Get("/v1/files"))["data"].size(), 1u);
  error_of(complete(upload, {parts[1], parts[0]}), 409);
  error_of(send_part(upload, kFirst), 409);
  error_of(cancel(upload), 409);
}

TEST_F(UploadsApiTest, ChecksTheNumberOfBytes) {
  const auto upload = new_upload();
  const auto first = part(upload, kFirst);
  EXPECT_THAT(error_of(complete(upload, {first}), 400)["message"],
              testing::HasSubstr("instead of 58"));
  const auto second = part(upload, kSecond);
  EXPECT_EQ(body_of(complete(upload, {first, second}))["status"], "completed");
}

TEST_F(UploadsApiTest, ChecksTheMd5) {
  const auto upload = new_upload();
  const std::vector<std::string> parts{part(upload, kFirst), part(upload, kSecond)};
  error_of(complete(upload, parts, {{"md5", "00000000000000000000000000000000"}}), 400);
  EXPECT_EQ(error_of(complete(upload, parts, {{"md5", "nonsense"}}), 400)["param"], "md5");
  EXPECT_EQ(body_of(client().Get("/v1/files"))["data"].size(), 0u);
  // As md5sum says it.
  const json done = body_of(complete(upload, parts, {{"md5", "7a712a951ad7583d1621db446459f087"}}));
  EXPECT_EQ(done["status"], "completed") << done;
}

TEST_F(UploadsApiTest, RefusesPartsThatAreNotTheUploads) {
  const auto upload = new_upload();
  const auto other = new_upload();
  const auto mine = part(upload, kFirst);
  const auto foreign = part(other, kSecond);
  error_of(complete(upload, {mine, foreign}), 400);
  error_of(complete(upload, {mine, mine}), 400);
  error_of(complete(upload, {mine, "../" + other + "/" + foreign}), 400);
  EXPECT_EQ(error_of(complete(upload, {}), 400)["param"], "part_ids");
}

TEST_F(UploadsApiTest, IsHiddenFromOthers) {
  const auto upload = new_upload();
  auto other = client(other_key_);
  error_of(other.Post("/v1/uploads/" + upload + "/cancel", "", kJson), 404);
  error_of(other.Post("/v1/uploads/" + upload + "/complete", R"({"part_ids":["part_a"]})", kJson),
           404);
  error_of(other.Post("/v1/uploads/" + upload + "/parts",
                      httplib::MultipartFormDataItems{{"data", "x", "upload", ""}}),
           404);
}

TEST_F(UploadsApiTest, ForgetsTheBytesOfACancelledUpload) {
  const auto upload = new_upload();
  const auto first = part(upload, kFirst);
  EXPECT_EQ(stored_parts(), 1u);
  EXPECT_EQ(body_of(cancel(upload))["status"], "cancelled");
  EXPECT_EQ(body_of(cancel(upload))["status"], "cancelled");
  EXPECT_EQ(stored_parts(), 0u);
  error_of(send_part(upload, kSecond), 409);
  error_of(complete(upload, {first}), 409);
}

TEST_F(UploadsApiTest, ExpiresAfterAnHour) {
  const auto upload = new_upload();
  const auto first = part(upload, kFirst);
  now_ms_ += 3'599'000;
  uploads_->remove_expired();
  EXPECT_EQ(stored_parts(), 1u);
  now_ms_ += 1'000;
  uploads_->remove_expired();
  EXPECT_EQ(stored_parts(), 0u);
  EXPECT_THAT(error_of(complete(upload, {first}), 409)["message"], testing::HasSubstr("expired"));
  now_ms_ += 24 * 3'600'000;
  error_of(complete(upload, {first}), 404);
  EXPECT_TRUE(fs::is_empty(directory_.path() / "uploads"));
}

TEST_F(UploadsApiTest, OutlivesARestart) {
  const auto upload =
      new_upload({{"expires_after", {{"anchor", "created_at"}, {"seconds", 3600}}}});
  const auto first = part(upload, kFirst);
  const auto folder = directory_.path() / "uploads" / upload;
  std::ofstream(folder / ".part_x.1.0.part") << "half a part";
  auto store = reopened();
  auto writer = store->begin_part("admin", upload).value();
  ASSERT_TRUE(writer->write(kSecond));
  const auto second = writer->commit().value();
  const auto done = store->complete("admin", upload, {first, second.id}, "");
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_FALSE(fs::exists(folder / ".part_x.1.0.part"));
  const auto file = files_->get("admin", done->file_id);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->rows, 2);
  EXPECT_EQ(file->expires_at, now_ms_ / 1000 + 3600);
}

TEST_F(UploadsApiTest, AnUploadBegunAtOneProcessGoesOnAtAnother) {
  auto other = reopened();
  const auto upload = new_upload();
  const auto first = part(upload, kFirst);
  auto writer = other->begin_part("admin", upload).value();
  ASSERT_TRUE(writer->write(kSecond));
  const auto second = writer->commit().value();
  const json done = body_of(complete(upload, {first, second.id}));
  EXPECT_EQ(done["file"]["rows"], 2);
  const auto again = other->complete("admin", upload, {first, second.id}, "");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->file_id, done["file"]["id"]) << "joined once";
  EXPECT_EQ(other->begin_part("admin", upload).error().code, ErrorCode::kConflict);
  EXPECT_EQ(other->cancel("admin", upload).error().code, ErrorCode::kConflict);
}

TEST_F(UploadsApiTest, AnEndAtOneProcessEndsPartsThatArriveAtAnother) {
  auto other = reopened();
  const auto upload = new_upload();
  auto writer = other->begin_part("admin", upload).value();
  ASSERT_TRUE(writer->write(kFirst));
  EXPECT_EQ(body_of(cancel(upload))["status"], "cancelled");
  EXPECT_EQ(writer->commit().error().code, ErrorCode::kConflict);
  writer.reset();
  EXPECT_EQ(stored_parts(), 0u);
}

TEST_F(UploadsApiTest, TwoProcessesJoinAnUploadOnce) {
  auto other = reopened();
  const auto upload = new_upload();
  const std::vector<std::string> parts{part(upload, kFirst), part(upload, kSecond)};
  std::vector<std::string> files(8);
  std::vector<std::thread> callers;
  for (size_t i = 0; i < files.size(); ++i) {
    callers.emplace_back([&, i] {
      UploadStore& store = i % 2 == 0 ? *uploads_ : *other;
      const auto done = store.complete("admin", upload, parts, "");
      files[i] = done ? done->file_id : done.error().message;
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_THAT(files, testing::Each(files[0]));
  EXPECT_EQ(files_->list("admin").size(), 1u);
}

TEST_F(UploadsApiTest, TheShareOfAnOwnerCountsAtEveryProcess) {
  auto other = reopened();
  for (size_t i = 0; i < UploadStore::kMaxOpen; ++i) new_upload();
  const auto refused = other->create({.owner = "admin", .bytes = 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
}

TEST_F(UploadsApiTest, FindsTheFileThatWasMadeJustBeforeACrash) {
  const auto upload = new_upload();
  const std::vector<std::string> parts{part(upload, kFirst), part(upload, kSecond)};
  const auto before = directory_.path() / "before";
  const auto folder = directory_.path() / "uploads" / upload;
  fs::copy(folder, before);
  const json done = body_of(complete(upload, parts));
  // As it lies on the disk between the file's appearance and the upload's end.
  json record = json::parse(std::ifstream(folder / "upload.json"));
  record["status"] = "pending";
  fs::remove_all(folder);
  fs::copy(before, folder);
  std::ofstream(folder / "upload.json") << record;
  const auto again = reopened()->complete("admin", upload, parts, "");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->file_id, done["file"]["id"]);
  EXPECT_EQ(body_of(client().Get("/v1/files"))["data"].size(), 1u);
}

TEST_F(UploadsApiTest, RemovesAFolderItCannotRead) {
  const auto upload = new_upload();
  std::ofstream(directory_.path() / "uploads" / upload / "upload.json") << "{\"id\":";
  reopened();
  EXPECT_FALSE(fs::exists(directory_.path() / "uploads" / upload));
}

TEST_F(UploadsApiTest, BoundsPartsAndUploads) {
  const auto upload = new_upload({{"bytes", int64_t{8} << 30}});
  error_of(send_part(upload, std::string(UploadStore::kMaxPartBytes + 1, 'x')), 400);
  EXPECT_EQ(stored_parts(), 0u);
  EXPECT_EQ(error_of(create_upload({{"bytes", (int64_t{8} << 30) + 1}}), 400)["type"],
            "invalid_request_error");
  error_of(create_upload({{"bytes", 0}}), 400);
}

TEST(UploadRulesTest, HoldThePromisedBytesAndAFewPartsThatWereSentAgain) {
  UploadEntry entry{.upload = {.id = "upload_a", .bytes = 10}};
  EXPECT_TRUE(reserve_bytes(entry, 10));
  EXPECT_TRUE(reserve_bytes(entry, 4 * UploadStore::kMaxPartBytes));
  EXPECT_FALSE(reserve_bytes(entry, 1));
  EXPECT_EQ(entry.held_bytes(), 10 + 4 * UploadStore::kMaxPartBytes);
}

TEST_F(UploadsApiTest, BoundsWhatOneOwnerHasOpen) {
  std::vector<std::string> open;
  for (size_t i = 0; i < UploadStore::kMaxOpen; ++i) open.push_back(new_upload());
  const auto refused = create_upload();
  EXPECT_EQ(error_of(refused, 429)["code"], "too_many_uploads");
  EXPECT_EQ(refused->get_header_value("x-should-retry"), "false");
  body_of(cancel(open.front()));
  EXPECT_EQ(body_of(create_upload())["status"], "pending");
}

TEST_F(UploadsApiTest, BoundsTheBytesOneOwnerPromises) {
  for (int i = 0; i < 4; ++i) new_upload({{"bytes", int64_t{8} << 30}});
  error_of(create_upload(), 429);
}

TEST_F(UploadsApiTest, AWholeNumberMayHaveAPoint) {
  const char* body = R"({"filename":"a","purpose":"fine-tune","mime_type":"x/y","bytes":%s})";
  const auto with = [&](const std::string& bytes) {
    std::string text(body);
    text.replace(text.find("%s"), 2, bytes);
    return client().Post("/v1/uploads", text, "application/json");
  };
  EXPECT_EQ(body_of(with("3.0"))["bytes"], 3);
  for (const char* wrong : {"3.5", "1e300", "18446744073709551615", "-1.0", "\"3\""}) {
    error_of(with(wrong), 400);
  }
}

TEST_F(UploadsApiTest, RefusesWrongFields) {
  EXPECT_EQ(error_of(create_upload({{"purpose", "batch"}}), 400)["param"], "purpose");
  EXPECT_EQ(error_of(create_upload({{"bytes", "58"}}), 400)["param"], "bytes");
  EXPECT_EQ(error_of(create_upload({{"filename", nullptr}}), 400)["param"], "filename");
  EXPECT_EQ(error_of(create_upload({{"mime_type", ""}}), 400)["param"], "mime_type");
  EXPECT_EQ(error_of(create_upload({{"expires_after", {{"anchor", "created_at"}, {"seconds", 1}}}}),
                     400)["param"],
            "expires_after.seconds");
  const auto upload = new_upload();
  EXPECT_EQ(error_of(client().Post("/v1/uploads/" + upload + "/parts",
                                   httplib::MultipartFormDataItems{{"other", "x", "", ""}}),
                     400)["param"],
            "data");
}

}  // namespace
}  // namespace tunefleet::coordinator
