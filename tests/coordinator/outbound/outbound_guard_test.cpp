#include "coordinator/outbound/outbound_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

using testing::HasSubstr;

/// A resolver that gives the same addresses for every name.
Resolver answering(const std::vector<std::string>& texts) {
  std::vector<IpAddress> addresses;
  for (const auto& text : texts) addresses.push_back(*IpAddress::parse(text));
  return [addresses](const std::string&) -> Result<std::vector<IpAddress>> { return addresses; };
}

OutboundPolicy allowing(const std::vector<std::string>& entries) {
  OutboundPolicy policy;
  for (const auto& entry : entries) EXPECT_TRUE(policy.allow(entry)) << entry;
  return policy;
}

TEST(OutboundGuardTest, AdmitsAPublicHostAtTheAddressesItHas) {
  const OutboundGuard guard({}, answering({"2606:4700::1111", "1.1.1.1"}));
  const auto target = guard.admit("https://hooks.example/path");
  ASSERT_TRUE(target) << target.error().message;
  ASSERT_EQ(target->addresses.size(), 2u);
  EXPECT_EQ(target->addresses[1].text(), "1.1.1.1");
  EXPECT_EQ(target->url.host, "hooks.example");
}

TEST(OutboundGuardTest, RefusesAHostWithOneAddressThatIsNotPublic) {
  const OutboundGuard guard({}, answering({"1.1.1.1", "10.0.0.7"}));
  const auto target = guard.admit("https://hooks.example/");
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(target.error().message, HasSubstr("hooks.example"));
  EXPECT_THAT(target.error().message, HasSubstr("private"));
  EXPECT_THAT(target.error().message, testing::Not(HasSubstr("10.0.0.7")));
}

TEST(OutboundGuardTest, RefusesAddressesBeforeAnyNameServerIsAsked) {
  const OutboundGuard guard({}, [](const std::string& host) -> Result<std::vector<IpAddress>> {
    ADD_FAILURE() << "asked for " << host;
    return std::vector<IpAddress>{};
  });
  for (const char* url :
       {"https://127.0.0.1/", "https://169.254.169.254/latest/meta-data/", "https://[::1]/",
        "https://[fd00:ec2::254]/", "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::7f00:1]/",
        "https://100.100.100.200/", "http://1.1.1.1/", "https://1.1.1.1:22/",
        "https://1.1.1.1:6379/", "https://2130706433/"}) {
    EXPECT_FALSE(guard.check(url)) << url;
    EXPECT_FALSE(guard.admit(url)) << url;
  }
  EXPECT_TRUE(guard.admit("https://1.1.1.1:8443/"));
  EXPECT_TRUE(guard.check("https://name.example/"));
}

TEST(OutboundGuardTest, TakesHttpWhenTheOperatorAllowsIt) {
  const OutboundGuard guard({.allow_http = true}, answering({"1.1.1.1"}));
  EXPECT_TRUE(guard.admit("http://hooks.example/"));
  EXPECT_TRUE(guard.admit("http://hooks.example:8080/"));
  EXPECT_FALSE(guard.admit("http://hooks.example:443/"));
  EXPECT_FALSE(guard.admit("http://127.0.0.1/"));
}

TEST(OutboundGuardTest, LiftsTheRulesForAListedHostOnly) {
  const OutboundGuard guard(allowing({"Hooks.lan"}), answering({"10.0.0.7"}));
  EXPECT_TRUE(guard.admit("http://hooks.lan:9000/"));
  EXPECT_FALSE(guard.admit("https://x.hooks.lan/"));
  EXPECT_FALSE(guard.admit("https://hooks.lan.example/"));
  EXPECT_FALSE(guard.admit("https://10.0.0.7/"));
}

TEST(OutboundGuardTest, LiftsTheRulesForAListedRangeOnly) {
  const OutboundGuard guard(allowing({"10.1.0.0/16"}), answering({"10.1.0.7"}));
  EXPECT_TRUE(guard.admit("http://10.1.0.7:9000/"));
  EXPECT_FALSE(guard.admit("http://10.2.0.7:9000/"));
  EXPECT_TRUE(guard.admit("https://name.example/"));
  EXPECT_FALSE(guard.admit("http://name.example:9000/"));
}

TEST(OutboundGuardTest, HandsOnThatANameHasNoAddress) {
  EXPECT_FALSE(OutboundGuard({}, answering({})).admit("https://hooks.example/"));
  const OutboundGuard guard({}, [](const std::string&) -> Result<std::vector<IpAddress>> {
    return fail(ErrorCode::kTimeout, "no name server answered");
  });
  EXPECT_EQ(guard.admit("https://hooks.example/").error().code, ErrorCode::kTimeout);
}

TEST(OutboundPolicyTest, RefusesEntriesItCannotRead) {
  OutboundPolicy policy;
  for (const char* entry : {"", "10.0.0.0/40", "http://hooks.lan", "hooks.lan:80", "hooks.lan/x",
                            "a b", "*.lan", "user@host", "127.1"}) {
    EXPECT_FALSE(policy.allow(entry)) << entry;
  }
}

TEST(ResolverTest, KnowsThisMachine) {
  const auto addresses = resolve_by_system("localhost");
  ASSERT_TRUE(addresses) << addresses.error().message;
  for (const auto& address : *addresses) EXPECT_EQ(special_use(address), "loopback");
  EXPECT_FALSE(OutboundGuard(OutboundPolicy{}).admit("https://localhost/"));
}

}  // namespace
}  // namespace tunefleet::coordinator
