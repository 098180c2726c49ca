#include "coordinator/api/audit_log.h"

#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

std::vector<json> lines_of(const std::filesystem::path& path) {
  std::vector<json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  return lines;
}

class AuditLogTest : public testing::Test {
 protected:
  AuditLogOptions options() { return {.path = directory_.path() / "audit.jsonl"}; }
  static int64_t now_ms() { return 1'800'000'000'123; }
  TemporaryDirectory directory_;
};

TEST_F(AuditLogTest, WritesOneLineForEachEntryThatOnlyItsOwnerReads) {
  AuditLog log(options(), now_ms);
  log.record({.request = "req_1",
              .tenant = "acme",
              .key = "key-1",
              .remote = "10.0.0.1",
              .method = "DELETE",
              .route = "/v1/files/{id}",
              .object = "file-\"\n\xff",
              .status = 200});
  log.record({.method = "GET", .status = 401});
  const auto lines = lines_of(options().path);
  ASSERT_EQ(lines.size(), 2);
  EXPECT_EQ(lines[0]["time"], "2027-01-15T08:00:00.123Z");
  EXPECT_EQ(lines[0]["tenant"], "acme");
  EXPECT_EQ(lines[0]["route"], "/v1/files/{id}");
  EXPECT_EQ(lines[0]["object"], "file-\"\n\xEF\xBF\xBD");
  EXPECT_EQ(lines[1]["status"], 401);
  struct stat status {};
  ::stat(options().path.c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777, 0600);
}

TEST_F(AuditLogTest, BoundsWhatAClientCanWriteIntoIt) {
  AuditLog(options(), now_ms).record({.object = std::string(100'000, 'a')});
  EXPECT_EQ(lines_of(options().path).at(0)["object"], std::string(256, 'a'));
}

TEST_F(AuditLogTest, GoesOnWhereAnEarlierOneEnded) {
  AuditLog(options(), now_ms).record({.status = 1});
  AuditLog(options(), now_ms).record({.status = 2});
  EXPECT_EQ(lines_of(options().path).size(), 2);
}

TEST_F(AuditLogTest, KeepsSomeFullFilesAndNoMore) {
  AuditLogOptions small = options();
  small.max_bytes = 1'000;
  small.kept_files = 2;
  AuditLog log(small, now_ms);
  for (int i = 0; i < 100; ++i) log.record({.status = i});
  const auto numbered = [&](int number) {
    return small.path.string() + "." + std::to_string(number);
  };
  EXPECT_TRUE(std::filesystem::exists(numbered(1)));
  EXPECT_TRUE(std::filesystem::exists(numbered(2)));
  EXPECT_FALSE(std::filesystem::exists(numbered(3)));
  int expected = 99;
  for (const std::string& path : {small.path.string(), numbered(1), numbered(2)}) {
    EXPECT_LE(std::filesystem::file_size(path), small.max_bytes);
    const auto lines = lines_of(path);
    for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
      EXPECT_EQ((*line)["status"], expected--);
    }
  }
}

TEST_F(AuditLogTest, LosesAndMixesNoLinesOfManyThreads) {
  AuditLogOptions small = options();
  small.max_bytes = 20'000;
  AuditLog log(small, now_ms);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log, t] {
      for (int i = 0; i < 50; ++i) log.record({.request = std::to_string(t), .status = i});
    });
  }
  for (auto& thread : threads) thread.join();
  size_t lines = lines_of(small.path).size();
  for (int number = 1; number <= small.kept_files; ++number) {
    lines += lines_of(small.path.string() + "." + std::to_string(number)).size();
  }
  EXPECT_EQ(lines, 200);
}

TEST_F(AuditLogTest, RecoversWhenItsDirectoryComesBack) {
  AuditLogOptions elsewhere{.path = directory_.path() / "gone" / "audit.jsonl"};
  AuditLog log(elsewhere, now_ms);
  log.record({.status = 1});
  std::filesystem::create_directory(directory_.path() / "gone");
  log.record({.status = 2});
  EXPECT_EQ(lines_of(elsewhere.path).at(0)["status"], 2);
}

}  // namespace
}  // namespace tunefleet::coordinator
