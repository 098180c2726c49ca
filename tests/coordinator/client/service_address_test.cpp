#include "coordinator/client/service_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>

namespace tunefleet::coordinator {
namespace {

using ::testing::HasSubstr;

class FindService : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(data_); }
  void TearDown() override { std::filesystem::remove_all(data_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(data_ / name) << text;
  }
  Result<ServiceAddress> find() {
    return find_service(options_, [this](const char* name) -> std::optional<std::string> {
      const auto found = environment_.find(name);
      return found == environment_.end() ? std::nullopt : std::optional(found->second);
    });
  }

  std::filesystem::path data_ =
      std::filesystem::temp_directory_path() / ("find_service." + std::to_string(getpid()));
  ServiceOptions options_{.url = {}, .key_file = {}, .data = data_.string()};
  std::map<std::string, std::string> environment_;
};

TEST_F(FindService, ReadsTheDataDirectory) {
  write("endpoint.json", R"({"url": "http://127.0.0.1:8770", "pid": 5})");
  write("admin.key", "tf-abc\n");
  const auto found = find();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->url, "http://127.0.0.1:8770");
  EXPECT_EQ(found->key, "tf-abc");
}

TEST_F(FindService, TakesTheDataDirectoryFromTheEnvironment) {
  write("endpoint.json", R"({"url": "http://h:1"})");
  write("admin.key", "k");
  options_.data.clear();
  environment_["TUNEFLEET_DATA"] = data_.string();
  EXPECT_EQ(find()->url, "http://h:1");
}

TEST_F(FindService, PrefersOptionsToTheEnvironmentToFiles) {
  write("endpoint.json", R"({"url": "http://file:1"})");
  write("admin.key", "of-data");
  write("other.key", "of-option");
  environment_ = {{"TUNEFLEET_URL", "http://env:2"}, {"TUNEFLEET_API_KEY", "of-env"}};
  EXPECT_EQ(find()->url, "http://env:2");
  EXPECT_EQ(find()->key, "of-env");
  options_.url = "https://option:3/v1/";
  options_.key_file = (data_ / "other.key").string();
  EXPECT_EQ(find()->url, "https://option:3");
  EXPECT_EQ(find()->key, "of-option");
}

TEST_F(FindService, SaysHowToStartOrNameAService) {
  const auto found = find();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(found.error().message, HasSubstr("`tunefleet up`"));
  EXPECT_THAT(found.error().message, HasSubstr("endpoint.json"));
}

TEST_F(FindService, SaysWhereAKeyMayBe) {
  options_.url = "http://h:1";
  EXPECT_EQ(find().error().code, ErrorCode::kPermissionDenied);
  EXPECT_THAT(find().error().message, HasSubstr("--key-file"));
  write("admin.key", "two words");
  EXPECT_THAT(find().error().message, HasSubstr("does not hold one key"));
}

TEST_F(FindService, RefusesWhatIsNoUrl) {
  write("admin.key", "k");
  for (const auto* url :
       {"h:1", "ftp://h", "http://", "http://h/v2", "http://u:p@h", "http://h 1"}) {
    options_.url = url;
    ASSERT_FALSE(find()) << url;
    EXPECT_EQ(find().error().code, ErrorCode::kInvalidArgument) << url;
  }
  options_.url.clear();
  write("endpoint.json", "{broken");
  EXPECT_EQ(find().error().code, ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace tunefleet::coordinator
