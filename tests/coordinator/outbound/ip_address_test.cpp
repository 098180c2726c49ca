#include "coordinator/outbound/ip_address.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

class SpecialUseTest : public testing::TestWithParam<const char*> {};
class PublicAddressTest : public testing::TestWithParam<const char*> {};

TEST_P(SpecialUseTest, IsSeen) {
  const auto address = IpAddress::parse(GetParam());
  ASSERT_TRUE(address) << GetParam();
  EXPECT_TRUE(special_use(*address)) << GetParam();
}
INSTANTIATE_TEST_SUITE_P(
    V4, SpecialUseTest,
    testing::Values("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1",
                    "100.127.255.255", "100.100.100.200", "127.0.0.1", "127.255.255.254",
                    "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1",
                    "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
                    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
                    "239.255.255.255", "240.0.0.1", "255.255.255.255"));
INSTANTIATE_TEST_SUITE_P(V6, SpecialUseTest,
                         testing::Values("::", "::1", "::127.0.0.1", "fc00::1", "fd00:ec2::254",
                                         "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1",
                                         "100::1", "2001::1", "2001:db8::1", "2001:1ff:ffff::1",
                                         "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1",
                                         "4000::1"));
INSTANTIATE_TEST_SUITE_P(V4InsideV6, SpecialUseTest,
                         testing::Values("::ffff:127.0.0.1", "::ffff:10.0.0.1",
                                         "::ffff:169.254.169.254", "::ffff:a9fe:a9fe",
                                         "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1",
                                         "64:ff9b::a9fe:a9fe", "64:ff9b::10.1.2.3",
                                         "64:ff9b:1::8.8.8.8"));

TEST_P(PublicAddressTest, IsPublic) {
  const auto address = IpAddress::parse(GetParam());
  ASSERT_TRUE(address) << GetParam();
  EXPECT_FALSE(special_use(*address)) << *special_use(*address);
}
INSTANTIATE_TEST_SUITE_P(Addresses, PublicAddressTest,
                         testing::Values("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0",
                                         "100.63.255.255", "100.128.0.0", "126.255.255.255",
                                         "128.0.0.1", "169.253.255.255", "169.255.0.0",
                                         "172.15.255.255", "172.32.0.0", "192.167.255.255",
                                         "192.169.0.0", "223.255.255.255", "2606:4700::1111",
                                         "2001:200::1", "2001:4860:4860::8888", "::ffff:8.8.8.8",
                                         "64:ff9b::8.8.8.8"));

TEST(IpAddressTest, IsTheSameInBothSpellings) {
  EXPECT_EQ(IpAddress::parse("::ffff:192.0.2.1"), IpAddress::parse("192.0.2.1"));
  EXPECT_EQ(IpAddress::parse("::ffff:192.0.2.1")->text(), "192.0.2.1");
  EXPECT_EQ(IpAddress::parse("2001:DB8:0::1")->text(), "2001:db8::1");
}

TEST(IpAddressTest, TakesOneSpellingOnly) {
  for (const char* text :
       {"", "1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01", "127.0.0.1.",
        " 127.0.0.1", "1.2.3.4.5", "256.0.0.1", "fe80::1%eth0", "[::1]", "::1::", "localhost"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
  EXPECT_FALSE(IpAddress::parse(std::string_view("127.0.0.1\0.x", 12)));
}

TEST(IpRangeTest, HoldsItsBlock) {
  const auto in = [](const char* range, const char* address) {
    return IpRange::parse(range)->contains(*IpAddress::parse(address));
  };
  EXPECT_TRUE(in("10.1.0.0/16", "10.1.255.255"));
  EXPECT_FALSE(in("10.1.0.0/16", "10.2.0.0"));
  EXPECT_TRUE(in("100.64.0.0/10", "100.127.0.1"));
  EXPECT_FALSE(in("100.64.0.0/10", "100.128.0.1"));
  EXPECT_TRUE(in("127.0.0.1", "127.0.0.1"));
  EXPECT_FALSE(in("127.0.0.1", "127.0.0.2"));
  EXPECT_TRUE(in("0.0.0.0/0", "8.8.8.8"));
  EXPECT_FALSE(in("0.0.0.0/0", "2606::1"));
  EXPECT_TRUE(in("::/0", "8.8.8.8"));
  EXPECT_TRUE(in("fd00::/8", "fdff::1"));
}

TEST(IpRangeTest, RefusesWhatIsNoRange) {
  for (const char* text : {"10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8x", "10/8",
                           "::/129", "/8", "host/8"}) {
    EXPECT_FALSE(IpRange::parse(text)) << text;
  }
}

}  // namespace
}  // namespace tunefleet::coordinator
