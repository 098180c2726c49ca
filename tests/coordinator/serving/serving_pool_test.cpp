#include "coordinator/serving/serving_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <fstream>
#include <sstream>
#include <thread>

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr milliseconds kLimit{10'000};

/// An answer to its end.
struct Heard {
  std::string text;
  std::optional<ChatEnd> end;
  std::optional<ChatFailed> failed;
};

/// The pool over real processes; only what they say is a test double's (fake_model_server.cpp).
class ServingPoolTest : public testing::Test {
 protected:
  ServingPoolTest() {
    std::string name = (fs::temp_directory_path() / "tunefleet-serving-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
    options_.program = {FAKE_MODEL_SERVER};
    options_.log = directory_ / "serving.log";
  }
  ~ServingPoolTest() override {
    pool_.reset();
    fs::remove_all(directory_);
  }

  ServingPool& pool() {
    if (!pool_) pool_ = std::make_unique<ServingPool>(options_);
    return *pool_;
  }
  Result<std::shared_ptr<Conversation>> try_ask(const std::string& wish,
                                                const std::string& base = "a",
                                                const std::string& owner = "us") {
    ChatOrder order;
    order.adapter = "/adapters/x";
    order.messages = {{.role = "user", .content = wish, .loss = {}}};
    return pool().ask({.owner = owner, .base = base, .order = order});
  }
  std::shared_ptr<Conversation> ask(const std::string& wish, const std::string& base = "a") {
    return try_ask(wish, base).value();
  }
  static Heard hear(Conversation& conversation) {
    Heard heard;
    while (const auto reply = conversation.next(kLimit)) {
      if (const auto* text = std::get_if<ChatText>(&*reply)) heard.text += text->text;
      if (const auto* end = std::get_if<ChatEnd>(&*reply)) heard.end = *end;
      if (const auto* failed = std::get_if<ChatFailed>(&*reply)) heard.failed = *failed;
      if (heard.end || heard.failed) break;
    }
    return heard;
  }
  Heard say(const std::string& wish, const std::string& base = "a") {
    return hear(*ask(wish, base));
  }
  /// Waits until the fake has said its first piece.
  static void hear_begin(Conversation& conversation) {
    ASSERT_TRUE(conversation.next(kLimit).has_value());
  }
  /// Process ids of all servers so far, in the order of their starts.
  std::vector<pid_t> started() const {
    std::ifstream log(options_.log);
    std::vector<pid_t> pids;
    std::string word;
    std::string base;
    for (pid_t pid = 0; log >> word >> base >> pid;) pids.push_back(pid);
    return pids;
  }
  static bool becomes(const std::function<bool()>& true_) {
    for (int i = 0; i < 500 && !true_(); ++i) std::this_thread::sleep_for(milliseconds(10));
    return true_();
  }

  fs::path directory_;
  ServingOptions options_;
  std::unique_ptr<ServingPool> pool_;
};

TEST_F(ServingPoolTest, AnswersWithTheAdapterThatTheConversationNames) {
  const Heard heard = say("hello");
  EXPECT_EQ(heard.text, "/adapters/x|hello");
  ASSERT_TRUE(heard.end);
  EXPECT_EQ(heard.end->finish_reason, "stop");
  EXPECT_EQ(heard.end->prompt_tokens, 1);
}

TEST_F(ServingPoolTest, OneServerAnswersAllConversationsOfItsBase) {
  std::vector<std::shared_ptr<Conversation>> all;
  for (int i = 0; i < 8; ++i) all.push_back(ask(std::to_string(i)));
  for (int i = 7; i >= 0; --i) {
    EXPECT_EQ(hear(*all[static_cast<size_t>(i)]).text, "/adapters/x|" + std::to_string(i));
  }
  EXPECT_EQ(started().size(), 1);
}

TEST_F(ServingPoolTest, OneFailureIsOneConversations) {
  const Heard heard = say("refuse");
  ASSERT_TRUE(heard.failed);
  EXPECT_EQ(heard.failed->code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(say("hello").end);
  EXPECT_EQ(started().size(), 1);
}

TEST_F(ServingPoolTest, ADeathIsToldAndTheNextConversationStartsAnew) {
  const auto dying = ask("die");
  const auto behind = ask("hello");
  const Heard heard = hear(*dying);
  ASSERT_TRUE(heard.failed);
  EXPECT_EQ(heard.failed->code, ErrorCode::kUnavailable);
  EXPECT_THAT(heard.failed->message, HasSubstr("was killed by SIGKILL"));
  EXPECT_EQ(hear(*behind).text, "/adapters/x|hello");
  EXPECT_EQ(started().size(), 2);
}

TEST_F(ServingPoolTest, AnIdleServerThatIsKilledIsReplaced) {
  say("hello");
  ::kill(started().at(0), SIGKILL);
  ASSERT_TRUE(becomes([&] { return pool().loaded().empty(); }));
  EXPECT_TRUE(say("again").end);
  EXPECT_EQ(started().size(), 2);
}

TEST_F(ServingPoolTest, ABaseThatCannotBeLoadedSaysWhyToAllWhoWait) {
  const auto first = ask("hello", "broken");
  const auto second = ask("hello", "broken");
  for (const auto& each : {first, second}) {
    const Heard heard = hear(*each);
    ASSERT_TRUE(heard.failed);
    EXPECT_EQ(heard.failed->message, "no chat template");
  }
  const Heard crashed = say("hello", "crash");
  ASSERT_TRUE(crashed.failed);
  EXPECT_THAT(crashed.failed->message, HasSubstr("exit code 7 while it loaded"));
  EXPECT_EQ(crashed.failed->code, ErrorCode::kUnavailable);
}

TEST_F(ServingPoolTest, AProgramThatIsNotThereIsAnError) {
  options_.program = {"/nowhere/tunefleet-trainer"};
  const Heard heard = say("hello");
  ASSERT_TRUE(heard.failed);
  EXPECT_THAT(heard.failed->message, HasSubstr("/nowhere/tunefleet-trainer"));
  options_.program = {};
  pool_.reset();
  EXPECT_EQ(try_ask("hello").error().code, ErrorCode::kUnavailable);
}

TEST_F(ServingPoolTest, LettingGoCancelsAnAnswerUnderWay) {
  auto waiting = ask("wait");
  hear_begin(*waiting);
  const auto behind = ask("hello");
  EXPECT_FALSE(behind->next(milliseconds(50)));
  waiting.reset();
  EXPECT_TRUE(hear(*behind).end);
  EXPECT_EQ(started().size(), 1);
}

TEST_F(ServingPoolTest, LettingGoLeavesTheQueue) {
  auto waiting = ask("wait");
  hear_begin(*waiting);
  auto left = ask("die");
  const auto behind = ask("hello");
  left.reset();
  waiting.reset();
  EXPECT_TRUE(hear(*behind).end);
  EXPECT_EQ(started().size(), 1) << "the one that left was asked all the same";
}

TEST_F(ServingPoolTest, TheQueueIsBoundedForOneAndForAll) {
  options_.max_of_owner = 2;
  options_.max_waiting = 3;
  const auto first = ask("wait");
  const auto second = ask("hello");
  EXPECT_EQ(try_ask("hello").error().code, ErrorCode::kResourceExhausted);
  auto third = try_ask("hello", "a", "they");
  ASSERT_TRUE(third);
  EXPECT_EQ(try_ask("hello", "a", "others").error().code, ErrorCode::kUnavailable);
  third->reset();
  EXPECT_TRUE(try_ask("hello", "a", "others"));
}

TEST_F(ServingPoolTest, AnotherBaseTakesThePlaceOfAFreeServer) {
  EXPECT_TRUE(say("hello", "a").end);
  EXPECT_TRUE(say("hello", "b").end);
  EXPECT_THAT(pool().loaded(), ElementsAre("b"));
  EXPECT_TRUE(becomes([&] { return ::kill(started().at(0), 0) != 0; }));
}

TEST_F(ServingPoolTest, TwoBasesAreServedSideBySideWhenBothMay) {
  options_.max_servers = 2;
  auto waiting = ask("wait", "a");
  hear_begin(*waiting);
  EXPECT_TRUE(say("hello", "b").end);
  EXPECT_THAT(pool().loaded(), ElementsAre("a", "b"));
}

TEST_F(ServingPoolTest, AnIdleServerEnds) {
  options_.idle = milliseconds(100);
  EXPECT_TRUE(say("hello").end);
  EXPECT_TRUE(becomes([&] { return pool().loaded().empty(); }));
  EXPECT_TRUE(becomes([&] { return ::kill(started().at(0), 0) != 0; }));
  EXPECT_TRUE(say("again").end);
}

TEST_F(ServingPoolTest, AServerThatSaysNothingIsKilled) {
  options_.stalled = milliseconds(200);
  const Heard heard = say("hang");
  ASSERT_TRUE(heard.failed);
  EXPECT_EQ(heard.failed->code, ErrorCode::kUnavailable);
}

TEST_F(ServingPoolTest, AReaderWhoDoesNotReadHoldsNobodyUp) {
  const auto unread = ask("flood");
  const auto behind = ask("hello");
  EXPECT_TRUE(hear(*behind).end);
  EXPECT_EQ(hear(*unread).text.size(), 20'000'000);
}

TEST_F(ServingPoolTest, StoppingEndsConversationsAndServers) {
  const auto waiting = ask("wait");
  hear_begin(*waiting);
  const auto behind = ask("hello");
  const auto pids = started();
  pool().stop();
  for (const auto& each : {waiting, behind}) {
    const Heard heard = hear(*each);
    ASSERT_TRUE(heard.failed);
    EXPECT_EQ(heard.failed->code, ErrorCode::kUnavailable);
  }
  EXPECT_NE(::kill(pids.at(0), 0), 0);
  EXPECT_EQ(try_ask("hello").error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace tunefleet::coordinator
