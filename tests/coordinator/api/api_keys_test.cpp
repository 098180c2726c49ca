#include "coordinator/api/api_keys.h"

#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  ::stat(path.c_str(), &status);
  return status.st_mode & 0777;
}

class ApiKeysTest : public testing::Test {
 protected:
  std::unique_ptr<ApiKeys> open() {
    auto keys = ApiKeys::open(directory_.path(), [] { return int64_t{1'800'000'000}; });
    return keys ? std::move(*keys) : nullptr;
  }
  std::string admin_key() {
    std::string key;
    std::ifstream(directory_.path() / "admin.key") >> key;
    return key;
  }
  TemporaryDirectory directory_;
};

TEST_F(ApiKeysTest, MakesTheFirstKeyOnceAndFindsItAgain) {
  ASSERT_TRUE(open());
  const std::string key = admin_key();
  EXPECT_TRUE(key.starts_with("tf-"));
  EXPECT_EQ(key.size(), 3 + 43);  // 256 bits as base64url
  const auto again = open();
  EXPECT_EQ(admin_key(), key);
  EXPECT_EQ(again->owner_of(key).value(), "admin");
}

TEST_F(ApiKeysTest, KeepsSecretsFromOthersAndNoKeyInItsFile) {
  ASSERT_TRUE(open());
  EXPECT_EQ(mode_of(directory_.path() / "admin.key"), 0600);
  EXPECT_EQ(mode_of(directory_.path() / "keys" / "api_keys.json"), 0600);
  EXPECT_EQ(mode_of(directory_.path() / "keys"), 0700);
  EXPECT_EQ(text_of(directory_.path() / "keys" / "api_keys.json").find(admin_key()),
            std::string::npos);
}

TEST_F(ApiKeysTest, KnowsOnlyWholeKeys) {
  const auto keys = open();
  const std::string key = admin_key();
  EXPECT_FALSE(keys->owner_of(""));
  EXPECT_FALSE(keys->owner_of(key.substr(0, key.size() - 1)));
  EXPECT_FALSE(keys->owner_of(key + "a"));
  EXPECT_EQ(keys->owner_of(keys->create("someone").value()).value(), "someone");
}

TEST_F(ApiKeysTest, MakesANewAdminKeyWhenItsFileIsGone) {
  ASSERT_TRUE(open());
  const std::string lost = admin_key();
  std::filesystem::remove(directory_.path() / "admin.key");
  ASSERT_TRUE(open());
  EXPECT_NE(admin_key(), lost);
}

TEST_F(ApiKeysTest, RefusesADamagedFile) {
  ASSERT_TRUE(open());
  std::ofstream(directory_.path() / "keys" / "api_keys.json") << "{\"keys\":[{";
  const auto keys = ApiKeys::open(directory_.path(), [] { return int64_t{0}; });
  ASSERT_FALSE(keys);
  EXPECT_EQ(keys.error().code, ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace tunefleet::coordinator
