#include "coordinator/outbound/outbound_post.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

#include "tests/coordinator/outbound/receiver.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

OutboundTarget target_at(const std::string& url, const std::string& address) {
  return {.url = *parse_outbound_url(url), .addresses = {*IpAddress::parse(address)}};
}

TEST(OutboundPostTest, SendsBodyAndHeaders) {
  Receiver receiver;
  const auto status = post_outbound(
      target_at(receiver.url(), "127.0.0.1"),
      {.headers = {{"Content-Type", "application/json"}, {"webhook-id", "wh_1"}}, .body = "{}"});
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(*status, 200);
  const auto request = receiver.requests().at(0);
  EXPECT_EQ(request.body, "{}");
  EXPECT_EQ(request.target, "/hook?key=1");
  EXPECT_EQ(request.get_header_value("webhook-id"), "wh_1");
  EXPECT_EQ(request.get_header_value("Content-Type"), "application/json");
}

TEST(OutboundPostTest, ConnectsToTheAdmittedAddressWhateverTheNameMeans) {
  Receiver receiver;
  const auto status = post_outbound(target_at(receiver.url("hooks.example"), "127.0.0.1"), {});
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(receiver.requests().at(0).get_header_value("Host"),
            "hooks.example:" + std::to_string(receiver.port()));
}

TEST(OutboundPostTest, OpensNoSocketToAnAddressThatWasNotAdmitted) {
  Receiver receiver;
  const auto status = post_outbound(target_at(receiver.url("127.0.0.1"), "1.1.1.1"), {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kPermissionDenied);
  EXPECT_TRUE(receiver.requests().empty());
}

TEST(OutboundPostTest, AsksOnceForANameSoThatASecondAnswerCannotMatter) {
  Receiver receiver([](int) { return 200; }, "0.0.0.0");
  OutboundPolicy policy;
  ASSERT_TRUE(policy.allow("127.0.0.1"));
  int asked = 0;
  const OutboundGuard guard(policy, [&](const std::string&) -> Result<std::vector<IpAddress>> {
    return std::vector<IpAddress>{*IpAddress::parse(++asked == 1 ? "127.0.0.1" : "127.0.0.2")};
  });
  // Admitted under a usual port; the receiver has another.
  const auto url = "https://rebinding.example:8443/";
  auto first = guard.admit(url);
  ASSERT_TRUE(first) << first.error().message;
  first->url = *parse_outbound_url(receiver.url("rebinding.example"));
  const auto status = post_outbound(*first, {});
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(receiver.requests().at(0).local_addr, "127.0.0.1");
  EXPECT_FALSE(guard.admit(url));
  EXPECT_EQ(asked, 2);
}

TEST(OutboundPostTest, DoesNotFollowARedirect) {
  Receiver receiver([](int) { return 302; });
  EXPECT_EQ(post_outbound(target_at(receiver.url(), "127.0.0.1"), {}), 302);
  EXPECT_EQ(receiver.requests().size(), 1u);
}

TEST(OutboundPostTest, IgnoresTheEnvironmentsProxy) {
  Receiver receiver;
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  ::setenv("all_proxy", "http://127.0.0.1:1", 1);
  const auto status = post_outbound(target_at(receiver.url(), "127.0.0.1"), {});
  ::unsetenv("http_proxy");
  ::unsetenv("all_proxy");
  EXPECT_EQ(status, 200);
}

TEST(OutboundPostTest, ReadsOnlyTheBeginningOfALongReply) {
  Receiver receiver;
  receiver.answer_with(50 << 20);
  EXPECT_EQ(post_outbound(target_at(receiver.url(), "127.0.0.1"), {}), 200);
}

TEST(OutboundPostTest, SaysThatNobodyListens) {
  int port = 0;
  {
    const Receiver gone;
    port = gone.port();
  }
  const auto status = post_outbound(
      target_at("http://127.0.0.1:" + std::to_string(port) + "/secret", "127.0.0.1"), {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(status.error().message.find("secret"), std::string::npos) << status.error().message;
}

/// Takes connections and says nothing.
class SilentServer {
 public:
  SilentServer() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(socket_, any, size) != 0 || ::listen(socket_, 8) != 0 ||
        ::getsockname(socket_, any, &size) != 0) {
      throw std::runtime_error("no port for the silent server");
    }
    port_ = ntohs(address.sin_port);
  }
  ~SilentServer() { ::close(socket_); }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }

 private:
  int socket_;
  int port_ = 0;
};

TEST(OutboundPostTest, GivesUpOnASilentServer) {
  const SilentServer server;
  const auto status =
      post_outbound(target_at(server.url(), "127.0.0.1"), {.timeout = milliseconds(100)});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kTimeout);
}

TEST(OutboundPostTest, CanBeCutShort) {
  const SilentServer server;
  const auto begun = std::chrono::steady_clock::now();
  const auto status =
      post_outbound(target_at(server.url(), "127.0.0.1"), {.cancelled = [] { return true; }});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, milliseconds(5'000));
}

}  // namespace
}  // namespace tunefleet::coordinator
