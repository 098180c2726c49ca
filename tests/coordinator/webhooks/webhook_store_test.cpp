#include "coordinator/webhooks/webhook_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

class WebhookStoreTest : public testing::Test {
 protected:
  std::unique_ptr<WebhookStore> open() {
    return WebhookStore::open(directory_.path(), [this] { return now_s_; }).value();
  }
  Result<WebhookEndpoint> create(const std::string& owner) {
    return store_->create(owner, "mine", "https://hooks.example/", {"fine_tuning.job.failed"});
  }

  TemporaryDirectory directory_;
  int64_t now_s_ = 1'800'000'000;
  std::unique_ptr<WebhookStore> store_ = open();
};

TEST_F(WebhookStoreTest, KeepsEndpointsOverARestart) {
  const auto made = create("ann").value();
  store_ = open();
  const auto read = store_->get("ann", made.id);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->secret, made.secret);
  EXPECT_EQ(read->url, "https://hooks.example/");
  EXPECT_EQ(read->event_types, made.event_types);
  struct stat info {};
  ASSERT_EQ(::stat((directory_.path() / "endpoints.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(WebhookStoreTest, HidesEndpointsOfOthers) {
  const auto made = create("ann").value();
  EXPECT_EQ(store_->get("bob", made.id).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->update("bob", made.id, {.name = "x"}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->rotate_secret("bob", made.id, false).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->remove("bob", made.id).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(store_->list("bob").empty());
  EXPECT_EQ(store_->list("ann").size(), 1u);
}

TEST_F(WebhookStoreTest, SignsWithTheOldSecretForADayWhenAsked) {
  const auto made = create("ann").value();
  const auto rotated = store_->rotate_secret("ann", made.id, true).value();
  EXPECT_NE(rotated.secret, made.secret);
  using Secrets = std::vector<std::string>;
  EXPECT_EQ(rotated.secrets_at(now_s_), (Secrets{rotated.secret, made.secret}));
  EXPECT_EQ(rotated.secrets_at(now_s_ + 24 * 3600 - 1).size(), 2u);
  EXPECT_EQ(rotated.secrets_at(now_s_ + 24 * 3600), Secrets{rotated.secret});
  const auto twice = store_->rotate_secret("ann", made.id, true).value();
  EXPECT_EQ(twice.secrets_at(now_s_), (Secrets{twice.secret, rotated.secret}));
  store_ = open();
  EXPECT_EQ(store_->get("ann", made.id)->secrets_at(now_s_), twice.secrets_at(now_s_));
  const auto at_once = store_->rotate_secret("ann", made.id, false).value();
  EXPECT_EQ(at_once.secrets_at(now_s_), Secrets{at_once.secret});
}

TEST_F(WebhookStoreTest, ChangesWhatIsGivenOnly) {
  const auto made = create("ann").value();
  now_s_ += 10;
  EXPECT_EQ(store_->update("ann", made.id, {.name = "mine"})->updated_at, made.updated_at);
  const auto renamed = store_->update("ann", made.id, {.name = "new"}).value();
  EXPECT_EQ(renamed.name, "new");
  EXPECT_EQ(renamed.url, made.url);
  EXPECT_EQ(renamed.secret, made.secret);
  EXPECT_EQ(renamed.updated_at, now_s_);
}

TEST_F(WebhookStoreTest, BoundsWhatOneOwnerHas) {
  for (size_t i = 0; i < WebhookStore::kMaxPerOwner; ++i) ASSERT_TRUE(create("ann"));
  EXPECT_EQ(create("ann").error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(create("bob"));
  ASSERT_TRUE(store_->remove("ann", store_->list("ann").front().id));
  EXPECT_TRUE(create("ann"));
}

TEST_F(WebhookStoreTest, ShowsTheEndOfTheSecretOnly) {
  const auto made = create("ann").value();
  EXPECT_EQ(made.secret_hint().size(), std::string("whsec_...").size() + 4);
  EXPECT_TRUE(made.secret.ends_with(made.secret_hint().substr(9)));
}

TEST_F(WebhookStoreTest, SaysThatItsFileIsDamaged) {
  for (const char* text : {"{", "[]", "{\"endpoints\":[{\"id\":\"whep_1\"}]}"}) {
    std::ofstream(directory_.path() / "endpoints.json") << text;
    const auto opened = WebhookStore::open(directory_.path(), [] { return int64_t{0}; });
    ASSERT_FALSE(opened) << text;
    EXPECT_EQ(opened.error().code, ErrorCode::kDataLoss);
  }
}

}  // namespace
}  // namespace tunefleet::coordinator
