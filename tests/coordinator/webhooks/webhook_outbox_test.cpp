#include "coordinator/webhooks/webhook_outbox.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;

class WebhookOutboxTest : public testing::Test {
 protected:
  WebhookDelivery delivery(const std::string& job) const {
    const WebhookEvent event{
        .id = "evt_" + job, .type = "fine_tuning.job.failed", .job = job, .created_at = 17};
    return {.id = delivery_id(event, "whep_1"),
            .owner = "ann",
            .endpoint = "whep_1",
            .event = event,
            .attempts = 2,
            .next_attempt_ms = 99,
            .last_error = "the endpoint answered 500"};
  }

  TemporaryDirectory directory_;
  WebhookOutbox outbox_ = WebhookOutbox::open(directory_.path()).value();
};

TEST_F(WebhookOutboxTest, KeepsADeliveryOverARestart) {
  ASSERT_TRUE(outbox_.put(delivery("ftjob-a")));
  const auto again = WebhookOutbox::open(directory_.path()).value().load();
  ASSERT_EQ(again.size(), 1u);
  const WebhookDelivery& read = again.begin()->second;
  EXPECT_EQ(read.id, delivery("ftjob-a").id);
  EXPECT_EQ(read.owner, "ann");
  EXPECT_EQ(read.endpoint, "whep_1");
  EXPECT_EQ(body_of(read.event), body_of(delivery("ftjob-a").event));
  EXPECT_EQ(read.attempts, 2);
  EXPECT_EQ(read.next_attempt_ms, 99);
  EXPECT_EQ(read.last_error, "the endpoint answered 500");
}

TEST_F(WebhookOutboxTest, HoldsOneDeliveryForOneEventAndEndpoint) {
  ASSERT_TRUE(outbox_.put(delivery("ftjob-a")));
  ASSERT_TRUE(outbox_.put(delivery("ftjob-a")));
  ASSERT_TRUE(outbox_.put(delivery("ftjob-b")));
  EXPECT_EQ(outbox_.load().size(), 2u);
  ASSERT_TRUE(outbox_.remove(delivery("ftjob-a").id));
  EXPECT_EQ(outbox_.load().size(), 1u);
}

TEST_F(WebhookOutboxTest, PutsWhatIsGivenUpAside) {
  ASSERT_TRUE(outbox_.put(delivery("ftjob-a")));
  ASSERT_TRUE(outbox_.abandon(delivery("ftjob-a")));
  EXPECT_TRUE(outbox_.load().empty());
  EXPECT_TRUE(fs::exists(directory_.path() / "abandoned" / (delivery("ftjob-a").id + ".json")));
}

TEST_F(WebhookOutboxTest, LeavesOutWhatItCannotRead) {
  ASSERT_TRUE(outbox_.put(delivery("ftjob-a")));
  const auto folder = directory_.path() / "outbox";
  std::ofstream(folder / "wh_torn.json") << "{\"id\": \"wh_to";
  std::ofstream(folder / ".wh_x.json.1.0.part") << "{}";
  fs::copy_file(folder / (delivery("ftjob-a").id + ".json"), folder / "wh_other.json");
  EXPECT_EQ(outbox_.load().size(), 1u);
  EXPECT_TRUE(fs::exists(folder / "wh_torn.json"));
  EXPECT_FALSE(fs::exists(folder / ".wh_x.json.1.0.part"));
}

TEST_F(WebhookOutboxTest, IsReadableByItsOwnerOnly) {
  ASSERT_TRUE(outbox_.put(delivery("ftjob-a")));
  struct stat info {};
  const auto path = directory_.path() / "outbox" / (delivery("ftjob-a").id + ".json");
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace tunefleet::coordinator
