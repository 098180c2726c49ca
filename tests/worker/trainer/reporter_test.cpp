#include "worker/trainer/reporter.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <zmq.hpp>

#include "proto/wire.pb.h"

namespace tunefleet::trainer {
namespace {

using namespace std::chrono_literals;

struct KeyPair {
  std::array<char, 41> open{};
  std::array<char, 41> secret{};
  KeyPair() { zmq_curve_keypair(open.data(), secret.data()); }
};

/// A coordinator's socket, and the environment that leads a rank to it.
class ReporterTest : public testing::Test {
 protected:
  ReporterTest() : context_(1), socket_(context_, zmq::socket_type::router) {
    bind(socket_);
    std::string name = (std::filesystem::temp_directory_path() / "tunefleet-keys-XXXXXX").string();
    directory_ = mkdtemp(name.data());
    const auto keys = directory_ / "node.json";
    std::ofstream(keys) << nlohmann::json{{"server_public", server_.open.data()},
                                          {"public", client_.open.data()},
                                          {"secret", client_.secret.data()}};
    environment_ = {{"TUNEFLEET_RANK_ENDPOINT", socket_.get(zmq::sockopt::last_endpoint)},
                    {"TUNEFLEET_CURVE", keys.string()},
                    {"TUNEFLEET_JOB", "ftjob-1"},
                    {"TUNEFLEET_ATTEMPT", "3"}};
    for (const auto& [key, value] : environment_) setenv(key.c_str(), value.c_str(), 1);
  }
  ~ReporterTest() override {
    for (const auto& [key, value] : environment_) unsetenv(key.c_str());
    std::filesystem::remove_all(directory_);
  }

  void bind(zmq::socket_t& socket) {
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::curve_server, true);
    socket.set(zmq::sockopt::curve_secretkey, std::string(server_.secret.data()));
    socket.bind("tcp://127.0.0.1:*");
  }

  /// The next message, within `limit`.
  std::optional<wire::Envelope> next(std::chrono::milliseconds limit = 5000ms) {
    zmq::pollitem_t item{socket_.handle(), 0, ZMQ_POLLIN, 0};
    if (zmq::poll(&item, 1, limit) == 0) return std::nullopt;
    zmq::message_t body;
    (void)socket_.recv(peer_);
    (void)socket_.recv(body);
    wire::Envelope envelope;
    EXPECT_TRUE(envelope.ParseFromArray(body.data(), static_cast<int>(body.size())));
    return envelope;
  }
  template <typename Wanted>
  std::optional<wire::Envelope> next_that(Wanted wanted) {
    for (int i = 0; i < 50; ++i) {
      auto envelope = next();
      if (!envelope || wanted(*envelope)) return envelope;
    }
    return std::nullopt;
  }
  void acknowledge(uint64_t sequence) {
    wire::Envelope envelope;
    envelope.set_version(1);
    envelope.mutable_ack()->set_sequence(sequence);
    zmq::message_t to;
    to.copy(peer_);
    socket_.send(to, zmq::send_flags::sndmore);
    socket_.send(zmq::buffer(envelope.SerializeAsString()), zmq::send_flags::none);
  }

  KeyPair server_, client_;
  zmq::context_t context_;
  zmq::socket_t socket_;
  zmq::message_t peer_;
  std::filesystem::path directory_;
  std::map<std::string, std::string> environment_;
};

TEST_F(ReporterTest, BeatsCarryTheNewestStatus) {
  auto reporter = make_reporter(1, 2);
  ASSERT_TRUE(reporter) << reporter.error().message;
  (*reporter)->update({.phase = "training", .step = 12, .max_steps = 40, .loss = 2.5});
  const auto envelope =
      next_that([](const auto& e) { return e.has_rank_beat() && e.rank_beat().step() == 12; });
  ASSERT_TRUE(envelope);
  EXPECT_EQ(envelope->version(), 1U);
  EXPECT_EQ(envelope->rank_beat().job(), "ftjob-1");
  EXPECT_EQ(envelope->rank_beat().attempt(), 3U);
  EXPECT_EQ(envelope->rank_beat().rank(), 1U);
  EXPECT_EQ(envelope->rank_beat().max_steps(), 40U);
  EXPECT_EQ(envelope->rank_beat().phase(), "training");
  EXPECT_GT(envelope->rank_beat().resident_bytes(), 0U);
  EXPECT_EQ(envelope->rank_beat().collectives(), 0U);
}

TEST_F(ReporterTest, BeatsCarryTheCollectivesOfTheMoment) {
  std::atomic<uint64_t> collectives = 41;
  auto reporter = make_reporter(1, 2, &collectives);
  ASSERT_TRUE(reporter) << reporter.error().message;
  ASSERT_TRUE(next_that(
      [](const auto& e) { return e.has_rank_beat() && e.rank_beat().collectives() == 41; }));
  ++collectives;
  EXPECT_TRUE(next_that([](const auto& e) {
    return e.has_rank_beat() && e.rank_beat().collectives() == 42;
  })) << "also while nothing else is told";
}

TEST_F(ReporterTest, WhatWasToldIsSentAgainUntilAcknowledged) {
  auto reporter = make_reporter(0, 1);
  ASSERT_TRUE(reporter);
  (*reporter)->tell({"info", "metrics", "step 1", R"({"loss": 1.5})"});
  const auto is_event = [](const auto& e) { return e.has_rank_event(); };
  const auto first = next_that(is_event);
  const auto again = next_that(is_event);
  ASSERT_TRUE(first && again) << "an unacknowledged line must come again";
  EXPECT_EQ(first->rank_event().number(), 1U);
  EXPECT_EQ(again->rank_event().number(), 1U);
  EXPECT_EQ(again->rank_event().data_json(), R"({"loss": 1.5})");
  acknowledge(again->sequence());
  const auto start = std::chrono::steady_clock::now();
  (*reporter)->finish(4000ms);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3s)
      << "all is acknowledged: nothing to wait for";
}

TEST_F(ReporterTest, ReportsToTheCoordinatorThatHasTakenOver) {
  zmq::socket_t second(context_, zmq::socket_type::router);
  bind(second);
  const std::string endpoints =
      environment_["TUNEFLEET_RANK_ENDPOINT"] + "," + second.get(zmq::sockopt::last_endpoint);
  setenv("TUNEFLEET_RANK_ENDPOINT", endpoints.c_str(), 1);
  auto reporter = make_reporter(0, 1);
  ASSERT_TRUE(reporter) << reporter.error().message;
  ASSERT_TRUE(next_that([](const auto& e) { return e.has_rank_beat(); }));
  (*reporter)->tell({"info", "metrics", "told to the first", {}});
  ASSERT_TRUE(next_that([](const auto& e) { return e.has_rank_event(); })) << "not acknowledged";
  std::swap(socket_, second);
  EXPECT_FALSE(next(0ms)) << "while the first one leads";
  second.close();
  (*reporter)->tell({"info", "metrics", "told to nobody", {}});
  (*reporter)->update({.phase = "training", .step = 7});
  std::map<uint64_t, std::string> told;
  bool beat = false;
  for (int i = 0; i < 50 && (told.size() < 2 || !beat); ++i) {
    const auto envelope = next();
    ASSERT_TRUE(envelope) << "nothing comes to the second one";
    if (envelope->has_rank_beat() && envelope->rank_beat().step() == 7) beat = true;
    if (!envelope->has_rank_event()) continue;
    told[envelope->rank_event().number()] = envelope->rank_event().message();
    acknowledge(envelope->sequence());
  }
  EXPECT_EQ(told,
            (std::map<uint64_t, std::string>{{1, "told to the first"}, {2, "told to nobody"}}));
  EXPECT_TRUE(beat);
}

TEST_F(ReporterTest, WithoutACoordinatorNothingHangs) {
  socket_.close();
  auto reporter = make_reporter(0, 1);
  ASSERT_TRUE(reporter);
  (*reporter)->tell({"info", "message", "hello", {}});
  const auto start = std::chrono::steady_clock::now();
  (*reporter)->finish(300ms);
  reporter->reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3s);
}

TEST_F(ReporterTest, WrongSettingsAreNamed) {
  setenv("TUNEFLEET_CURVE", "/nowhere.json", 1);
  auto reporter = make_reporter(0, 1);
  ASSERT_FALSE(reporter);
  EXPECT_NE(reporter.error().message.find("/nowhere.json"), std::string::npos);
  unsetenv("TUNEFLEET_JOB");
  EXPECT_NE(make_reporter(0, 1).error().message.find("TUNEFLEET_JOB"), std::string::npos);
  unsetenv("TUNEFLEET_RANK_ENDPOINT");
  EXPECT_TRUE(make_reporter(0, 1)) << "a run of its own has nobody to report to";
}

}  // namespace
}  // namespace tunefleet::trainer
