#include "coordinator/api/api_keys.h"

#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "storage/sha256.h"
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
    auto keys = ApiKeys::open(directory_.path(), [this] { return now_s_; });
    return keys ? std::move(*keys) : nullptr;
  }
  std::string admin_key() {
    std::string key;
    std::ifstream(directory_.path() / "admin.key") >> key;
    return key;
  }
  std::filesystem::path key_file() const { return directory_.path() / "keys" / "api_keys.json"; }

  TemporaryDirectory directory_;
  int64_t now_s_ = 1'800'000'000;
};

TEST_F(ApiKeysTest, MakesTheFirstKeyOnceAndFindsItAgain) {
  ASSERT_TRUE(open());
  const std::string key = admin_key();
  EXPECT_TRUE(key.starts_with("tf-"));
  EXPECT_EQ(key.size(), 3 + 43);  // 256 bits as base64url
  const auto again = open();
  EXPECT_EQ(admin_key(), key);
  EXPECT_EQ(again->find(key)->owner, "admin");
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
  EXPECT_FALSE(keys->find(""));
  EXPECT_FALSE(keys->find(key.substr(0, key.size() - 1)));
  EXPECT_FALSE(keys->find(key + "a"));
  EXPECT_EQ(keys->find(keys->create({.owner = "someone"})->key)->owner, "someone");
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

TEST_F(ApiKeysTest, TakesTheKeysOfAnOlderFileForAdministrators) {
  std::filesystem::create_directory(key_file().parent_path());
  const std::string key = "tf-of-old";
  std::ofstream(key_file()) << "{\"keys\":[{\"sha256\":\"" << storage::sha256_hex(key)
                            << "\",\"prefix\":\"tf-of\",\"owner\":\"admin\",\"created_at\":7}]}";
  std::ofstream(directory_.path() / "admin.key") << key << "\n";
  const auto keys = open();
  const auto found = keys->find(key);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->scope, Scope::kAdmin);
  EXPECT_FALSE(found->expires_at);
  EXPECT_TRUE(found->id.starts_with("key-"));
  EXPECT_EQ(open()->find(key)->id, found->id);
}

TEST_F(ApiKeysTest, RemembersScopeNameAndExpiry) {
  const auto made = open()->create({.owner = "acme",
                                    .scope = Scope::kSubmit,
                                    .expires_at = now_s_ + 60,
                                    .name = "nightly runs"});
  ASSERT_TRUE(made);
  const auto keys = open();
  const auto found = keys->find(made->key);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->id, made->stored.id);
  EXPECT_EQ(found->scope, Scope::kSubmit);
  EXPECT_EQ(found->name, "nightly runs");
  now_s_ += 59;
  EXPECT_TRUE(keys->find(made->key));
  now_s_ += 1;
  const auto late = keys->find(made->key);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().message, "the API key has expired");
}

TEST_F(ApiKeysTest, RefusesARevokedKeyAtOnceAndAfterARestart) {
  const auto keys = open();
  const auto made = keys->create({.owner = "acme"});
  ASSERT_TRUE(keys->revoke(made->stored.id));
  EXPECT_FALSE(keys->find(made->key));
  EXPECT_FALSE(open()->find(made->key));
  EXPECT_EQ(keys->revoke(made->stored.id).error().code, ErrorCode::kNotFound);
}

TEST_F(ApiKeysTest, SeesWhatAnotherProcessChanges) {
  const auto first = open();
  const auto second = open();
  const auto made = first->create({.owner = "acme"});
  EXPECT_TRUE(second->find(made->key));
  ASSERT_TRUE(second->revoke(made->stored.id));
  EXPECT_FALSE(first->find(made->key));
}

TEST_F(ApiKeysTest, LetsNobodyInAndOutWhenTheFileIsDamagedWhileItRuns) {
  const auto keys = open();
  std::ofstream(key_file()) << "{\"keys\":[{";
  EXPECT_TRUE(keys->find(admin_key()));
  EXPECT_FALSE(keys->find("tf-other"));
}

TEST_F(ApiKeysTest, KeepsTheLastKeyThatCanManageTheService) {
  const auto keys = open();
  const std::string first = keys->find(admin_key())->id;
  keys->create({.owner = "acme", .scope = Scope::kAdmin}).value();
  keys->create({.owner = "admin", .scope = Scope::kSubmit}).value();
  const auto kept = keys->revoke(first);
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code, ErrorCode::kConflict);
  keys->create({.owner = "admin", .scope = Scope::kAdmin}).value();
  EXPECT_TRUE(keys->revoke(first));
}

TEST(Scopes, EachIncludesThoseBefore) {
  EXPECT_EQ(included_scopes(Scope::kAdmin), (std::vector<std::string>{"read", "submit", "admin"}));
  EXPECT_EQ(included_scopes(Scope::kRead), std::vector<std::string>{"read"});
  EXPECT_TRUE(included_scopes(Scope::kNone).empty());
  EXPECT_FALSE(scope_from_name("none"));
  EXPECT_FALSE(scope_from_name("Admin"));
}

TEST(TenantNames, AreSafeInRedisKeysAndModelNames) {
  for (const std::string good : {"a", "acme", "team-1.b_C", "7"}) {
    EXPECT_TRUE(is_tenant_name(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("a}b"), std::string("a:b"), std::string("a/b"),
        std::string(".."), std::string("-a"), std::string("a b"), std::string("\xc3\xa4"),
        std::string("a\0", 2), std::string(65, 'a')}) {
    EXPECT_FALSE(is_tenant_name(bad)) << bad;
  }
}

}  // namespace
}  // namespace tunefleet::coordinator
