#include "coordinator/webhooks/webhook_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <set>
#include <thread>

#include "coordinator/webhooks/webhook_signature.h"
#include "tests/coordinator/api/api_fixture.h"
#include "tests/coordinator/outbound/receiver.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

const std::vector<std::string> kAllTypes(std::begin(kWebhookEventTypes),
                                         std::end(kWebhookEventTypes));

/// The service on a store in memory, with receivers on 127.0.0.1. The clock stands still unless the
/// test moves it.
class WebhookServiceTest : public testing::Test {
 protected:
  void open() {
    OutboundPolicy policy;
    ASSERT_TRUE(policy.allow("127.0.0.1"));
    service_ = WebhookService::start(store_, {.directory = directory_.path(),
                                              .guard = OutboundGuard(policy),
                                              .now_ms = [this] { return now_ms_.load(); },
                                              .look_every = milliseconds(20)})
                   .value();
  }
  void SetUp() override { open(); }
  /// Another process on the same directory.
  std::unique_ptr<WebhookService> other_process(std::function<bool()> leads) {
    OutboundPolicy policy;
    EXPECT_TRUE(policy.allow("127.0.0.1"));
    return WebhookService::start(store_, {.directory = directory_.path(),
                                          .guard = OutboundGuard(policy),
                                          .now_ms = [this] { return now_ms_.load(); },
                                          .leads = std::move(leads),
                                          .look_every = milliseconds(20)})
        .value();
  }

  WebhookEndpoint endpoint(const Receiver& receiver, const std::string& owner = "ann",
                           const std::vector<std::string>& types = kAllTypes) {
    return service_->endpoints().create(owner, "mine", receiver.url(), types).value();
  }
  std::string make_job(const std::string& owner = "ann") {
    JobRecord job;
    job.owner = owner;
    job.phase = JobPhase::kQueued;
    job.spec = json::object();
    job.request = json::object();
    return store_.create(job, "").value().id;
  }
  std::string cancelled_job(const std::string& owner = "ann") {
    const auto id = make_job(owner);
    cancel(id);
    return id;
  }
  void cancel(const std::string& id) {
    EXPECT_TRUE(store_.transition(id, 0, JobPhase::kQueued, JobPhase::kCancelled, {}));
  }
  void move_clock(int64_t ms) {
    now_ms_ += ms;
    service_->wake();
  }
  template <typename Condition>
  static void wait_until(const Condition& met) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!met() && std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(milliseconds(2));
    }
    ASSERT_TRUE(met());
  }
  static void wait_for_requests(const Receiver& receiver, size_t count) {
    wait_until([&] { return receiver.requests().size() >= count; });
  }
  size_t files_in(const char* folder) const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path() / folder)) {
      count += entry.path().extension() == ".json" ? 1 : 0;
    }
    return count;
  }
  /// Attempts without success of the only delivery that waits; -1 when there is none.
  int64_t attempts() const {
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path() / "outbox")) {
      if (entry.path().extension() != ".json") continue;
      std::ifstream file(entry.path());
      return json::parse(file, nullptr, false).value("attempts", int64_t{-1});
    }
    return -1;
  }
  void wait_for_empty_outbox() {
    wait_until([&] { return files_in("outbox") == 0; });
  }

  TemporaryDirectory directory_;
  std::atomic<int64_t> now_ms_{1'800'000'000'000};
  CuttableStore store_{[this] { return now_ms_.load(); }};
  std::unique_ptr<WebhookService> service_;
};

void expect_signed(const httplib::Request& request, const std::vector<std::string>& secrets) {
  const auto id = request.get_header_value("webhook-id");
  const auto time = std::stoll(request.get_header_value("webhook-timestamp"));
  EXPECT_EQ(request.get_header_value("webhook-signature"),
            webhook_signature(secrets, id, time, request.body));
}

TEST_F(WebhookServiceTest, TellsTheEndOfAJobSigned) {
  Receiver receiver;
  const auto hook = endpoint(receiver);
  const auto job = cancelled_job();
  wait_for_requests(receiver, 1);
  const auto request = receiver.requests().at(0);
  const json body = json::parse(request.body);
  EXPECT_EQ(body["object"], "event");
  EXPECT_EQ(body["type"], "fine_tuning.job.cancelled");
  EXPECT_EQ(body["data"]["id"], job);
  EXPECT_EQ(body["created_at"], 1'800'000'000);
  EXPECT_THAT(body["id"].get<std::string>(), testing::StartsWith("evt_"));
  EXPECT_THAT(request.get_header_value("webhook-id"), testing::StartsWith("wh_"));
  expect_signed(request, {hook.secret});
  wait_for_empty_outbox();
}

TEST_F(WebhookServiceTest, TriesAgainWithTheSameIdAndANewTimestamp) {
  Receiver receiver([](int n) { return n <= 2 ? 503 : 204; });
  const auto hook = endpoint(receiver);
  cancelled_job();
  size_t seen = 0;
  for (const int64_t pause : {5'000, 30'000}) {
    wait_for_requests(receiver, ++seen);
    wait_until([&] { return attempts() == static_cast<int64_t>(seen); });
    move_clock(pause - 1);
    std::this_thread::sleep_for(milliseconds(60));
    EXPECT_EQ(receiver.requests().size(), seen);
    move_clock(1);
    wait_for_requests(receiver, seen + 1);
  }
  wait_for_empty_outbox();
  const auto requests = receiver.requests();
  ASSERT_EQ(requests.size(), 3u);
  for (const auto& request : requests) {
    expect_signed(request, {hook.secret});
    EXPECT_EQ(request.get_header_value("webhook-id"), requests[0].get_header_value("webhook-id"));
    EXPECT_EQ(request.body, requests[0].body);
  }
  EXPECT_EQ(requests[2].get_header_value("webhook-timestamp"), "1800000035");
}

TEST_F(WebhookServiceTest, GoesOnAfterARestart) {
  Receiver receiver([](int n) { return n == 1 ? 500 : 200; });
  endpoint(receiver);
  const auto first = cancelled_job();
  wait_for_requests(receiver, 1);
  service_.reset();
  const auto second = cancelled_job();  // While nobody looks.
  now_ms_ += 5'000;
  open();
  wait_for_requests(receiver, 3);
  wait_for_empty_outbox();
  std::vector<std::string> jobs;
  for (const auto& request : receiver.requests()) {
    jobs.push_back(json::parse(request.body)["data"]["id"]);
  }
  EXPECT_THAT(jobs, testing::UnorderedElementsAre(first, first, second));
}

TEST_F(WebhookServiceTest, OneThatBeginsToLeadGoesOnFromTheDisk) {
  Receiver receiver([](int n) { return n == 1 ? 500 : 200; });
  std::atomic<bool> leads{false};
  auto other = other_process([&leads] { return leads.load(); });
  endpoint(receiver);  // Made here, after the other has started.
  const auto first = cancelled_job();
  wait_for_requests(receiver, 1);
  wait_until([&] { return attempts() == 1; });
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(receiver.requests().size(), 1u) << "the one that does not lead tells nothing";
  service_.reset();
  const auto second = cancelled_job();  // While nobody leads.
  leads = true;
  now_ms_ += 3'600'000;
  wait_for_requests(receiver, 3);
  wait_for_empty_outbox();
  std::set<std::string> told;
  for (const auto& request : receiver.requests()) {
    told.insert(json::parse(request.body).at("data").at("id").get<std::string>());
  }
  EXPECT_EQ(told, (std::set<std::string>{first, second}));
  EXPECT_EQ(receiver.requests().size(), 3u) << "the first one twice, the second once";
}

TEST_F(WebhookServiceTest, TellsOnlyWhatWasAskedForAndOnlyItsOwner) {
  Receiver receiver;
  Receiver of_bob;
  endpoint(receiver, "ann", {"fine_tuning.job.failed"});
  endpoint(of_bob, "bob");
  cancelled_job("ann");
  const auto job = cancelled_job("bob");
  wait_for_requests(of_bob, 1);
  wait_for_empty_outbox();
  EXPECT_EQ(json::parse(of_bob.requests().at(0).body)["data"]["id"], job);
  EXPECT_EQ(of_bob.requests().size(), 1u);
  EXPECT_TRUE(receiver.requests().empty());
}

TEST_F(WebhookServiceTest, AStopByASweepIsNotTold) {
  Receiver receiver;
  endpoint(receiver);
  const auto stopped = make_job();
  ASSERT_TRUE(store_.request_stop(stopped, StopReason::kSweep, "behind", 0));
  const auto cancelled = make_job();
  ASSERT_TRUE(store_.request_stop(cancelled, StopReason::kCancel, "", 0));
  wait_for_requests(receiver, 1);
  wait_for_empty_outbox();
  EXPECT_EQ(json::parse(receiver.requests().at(0).body)["data"]["id"], cancelled);
  EXPECT_EQ(receiver.requests().size(), 1u);
}

TEST_F(WebhookServiceTest, TellsNothingThatEndedBeforeTheEndpointWasMade) {
  cancelled_job();
  const auto running = make_job();
  now_ms_ += 1'000;
  Receiver receiver;
  endpoint(receiver);
  cancel(running);
  wait_for_requests(receiver, 1);
  wait_for_empty_outbox();
  ASSERT_EQ(receiver.requests().size(), 1u);
  EXPECT_EQ(json::parse(receiver.requests()[0].body)["data"]["id"], running);
}

TEST_F(WebhookServiceTest, SignsWithBothSecretsAfterARotation) {
  Receiver receiver;
  const auto hook = endpoint(receiver);
  const auto rotated = service_->endpoints().rotate_secret("ann", hook.id, true).value();
  cancelled_job();
  wait_for_requests(receiver, 1);
  expect_signed(receiver.requests().at(0), {rotated.secret, hook.secret});
}

TEST_F(WebhookServiceTest, GivesUpAfterTheLastAttempt) {
  Receiver receiver([](int) { return 500; });
  endpoint(receiver);
  cancelled_job();
  for (size_t n = 1; n <= 10; ++n) {
    wait_for_requests(receiver, n);
    wait_until([&] { return n == 10 || attempts() == static_cast<int64_t>(n); });
    move_clock(24 * 3'600'000);
  }
  // First it stands among the abandoned, then it goes from the outbox.
  wait_until([&] { return files_in("abandoned") == 1 && files_in("outbox") == 0; });
  EXPECT_EQ(receiver.requests().size(), 10u);
}

TEST_F(WebhookServiceTest, DropsWhatIsForARemovedEndpoint) {
  Receiver receiver([](int) { return 500; });
  const auto hook = endpoint(receiver);
  cancelled_job();
  wait_for_requests(receiver, 1);
  ASSERT_TRUE(service_->endpoints().remove("ann", hook.id));
  wait_until([&] {
    move_clock(5'000);
    return files_in("outbox") == 0;
  });
  EXPECT_EQ(receiver.requests().size(), 1u);
}

TEST_F(WebhookServiceTest, LetsNoOwnersSlowReceiversHoldUpAnother) {
  std::atomic<bool> release{false};
  Receiver slow([&](int) {
    while (!release) std::this_thread::sleep_for(milliseconds(2));
    return 200;
  });
  Receiver quick;
  endpoint(slow, "ann");
  endpoint(quick, "bob");
  for (int i = 0; i < 10; ++i) cancelled_job("ann");
  cancelled_job("bob");
  wait_for_requests(quick, 1);
  wait_until([&] { return files_in("outbox") == 10; });
  release = true;
  wait_for_empty_outbox();
}

TEST_F(WebhookServiceTest, SendsATestAtOnce) {
  Receiver receiver([](int) { return 418; });
  const auto hook = endpoint(receiver);
  const auto status = service_->send_test(hook, "fine_tuning.job.succeeded");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(*status, 418);
  ASSERT_EQ(receiver.requests().size(), 1u);
  EXPECT_EQ(json::parse(receiver.requests()[0].body)["type"], "fine_tuning.job.succeeded");
  expect_signed(receiver.requests()[0], {hook.secret});
}

TEST_F(WebhookServiceTest, CallsNoPrivateAddress) {
  EXPECT_TRUE(service_->check_url("https://hooks.example/"));
  EXPECT_FALSE(service_->check_url("https://10.0.0.1/"));
  const WebhookEndpoint hook{.owner = "ann", .url = "https://127.0.0.2/"};
  const auto status = service_->send_test(hook, "fine_tuning.job.failed");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("loopback"));
}

}  // namespace
}  // namespace tunefleet::coordinator
