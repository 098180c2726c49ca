#include "coordinator/outbound/outbound_url.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

struct Accepted {
  const char* text;
  const char* canonical;
};

/// In a struct, so that no test's name is made of it.
struct Refused {
  const char* text;
};

class AcceptedUrlTest : public testing::TestWithParam<Accepted> {};
class RefusedUrlTest : public testing::TestWithParam<Refused> {};

TEST_P(AcceptedUrlTest, IsReadInItsParts) {
  const auto url = parse_outbound_url(GetParam().text);
  ASSERT_TRUE(url) << url.error().message;
  EXPECT_EQ(url->text(), GetParam().canonical);
}
INSTANTIATE_TEST_SUITE_P(
    Urls, AcceptedUrlTest,
    testing::Values(Accepted{"https://example.com", "https://example.com:443/"},
                    Accepted{"HTTPS://Example.COM/Path?Q=1", "https://example.com:443/Path?Q=1"},
                    Accepted{"https://example.com?q=a@b:c", "https://example.com:443/?q=a@b:c"},
                    Accepted{"http://a.b-c.d:8080/", "http://a.b-c.d:8080/"},
                    Accepted{"https://1and1.example/", "https://1and1.example:443/"},
                    Accepted{"https://192.0.2.1/x", "https://192.0.2.1:443/x"},
                    Accepted{"https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x"},
                    Accepted{"https://localhost/", "https://localhost:443/"}));

TEST_P(RefusedUrlTest, IsNotRead) {
  const auto url = parse_outbound_url(GetParam().text);
  EXPECT_FALSE(url) << GetParam().text;
}
INSTANTIATE_TEST_SUITE_P(Schemes, RefusedUrlTest,
                         testing::Values(Refused{""}, Refused{"https:/x"}, Refused{"//example.com"},
                                         Refused{"ftp://example.com"},
                                         Refused{"file:///etc/passwd"}, Refused{"gopher://x/"},
                                         Refused{"https:example.com"},
                                         Refused{" https://example.com"},
                                         Refused{"httpss://example.com"}));
INSTANTIATE_TEST_SUITE_P(
    Hosts, RefusedUrlTest,
    testing::Values(Refused{"https://"}, Refused{"https:///x"}, Refused{"https://:443/"},
                    Refused{"https://.example.com/"}, Refused{"https://example..com/"},
                    Refused{"https://example.com./"}, Refused{"https://localhost./"},
                    Refused{"https://-a.example/"}, Refused{"https://a-.example/"},
                    Refused{"https://exa mple.com/"}, Refused{"https://ex%61mple.com/"},
                    Refused{"https://ex\xc3\xa4mple.com/"},
                    Refused{"https://127.0.0.1%2f@example.com/"}, Refused{"https://a,b/"},
                    Refused{"https://a;b/"}));
INSTANTIATE_TEST_SUITE_P(
    OddAddresses, RefusedUrlTest,
    testing::Values(Refused{"https://2130706433/"}, Refused{"https://0x7f000001/"},
                    Refused{"https://0x7f.1/"}, Refused{"https://0177.0.0.1/"},
                    Refused{"https://127.1/"}, Refused{"https://127.0.1/"}, Refused{"https://0/"},
                    Refused{"https://127.0.0.01/"}, Refused{"https://1.2.3.4.5/"},
                    Refused{"https://256.1.1.1/"}, Refused{"https://127.0.0.0x1/"},
                    Refused{"https://example.0x/"}, Refused{"https://example.1/"},
                    Refused{"https://[127.0.0.1]/"}, Refused{"https://[::1/"},
                    Refused{"https://[fe80::1%25eth0]/"}, Refused{"https://[::1]x/"},
                    Refused{"https://::1/"}));
INSTANTIATE_TEST_SUITE_P(
    Confusions, RefusedUrlTest,
    testing::Values(Refused{"https://user@example.com/"}, Refused{"https://a:b@example.com/"},
                    Refused{"https://example.com\\@127.0.0.1/"},
                    Refused{"https://example.com#@127.0.0.1/"}, Refused{"https://example.com/#x"},
                    Refused{"https://example.com/a b"}, Refused{"https://example.com/\r\nX: y"},
                    Refused{"https://example.com\t/"}));
INSTANTIATE_TEST_SUITE_P(
    Ports, RefusedUrlTest,
    testing::Values(Refused{"https://example.com:/"}, Refused{"https://example.com:0/"},
                    Refused{"https://example.com:65536/"}, Refused{"https://example.com:-1/"},
                    Refused{"https://example.com:+1/"}, Refused{"https://example.com:4 43/"},
                    Refused{"https://example.com:443:443/"}, Refused{"https://example.com:x/"}));

TEST(OutboundUrlTest, HasABoundedLength) {
  const std::string start = "https://example.com/";
  EXPECT_TRUE(parse_outbound_url(start + std::string(2048 - start.size(), 'a')));
  EXPECT_FALSE(parse_outbound_url(start + std::string(2049 - start.size(), 'a')));
  EXPECT_FALSE(parse_outbound_url("https://" + std::string(64, 'a') + ".example/"));
}

TEST(OutboundUrlTest, ShowsItsOriginWithoutThePath) {
  EXPECT_EQ(parse_outbound_url("https://a.example/secret?token=1")->origin(),
            "https://a.example:443");
}

}  // namespace
}  // namespace tunefleet::coordinator
