#include "coordinator/webhooks/webhook_signature.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

// Golden values: base64(hmac.new(key, b'wh_1.1800000000.{"a":1}', sha256)) of Python's library, for
// the keys bytes(range(32)) and bytes(range(32, 64)).
const std::string kFirst = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const std::string kSecond = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
const std::string kFirstSigned = "v1,0QLEQoRpspFZpV8mEmMrnaBuzeWe6zlpiWapxKIkMyk=";
const std::string kSecondSigned = "v1,vJUjWKWvCZAVB7qfcrP1bpdQg5OAAlNJqSlD1Yfc6fU=";

TEST(WebhookSignatureTest, IsTheOneOfTheStandard) {
  EXPECT_EQ(webhook_signature({kFirst}, "wh_1", 1'800'000'000, "{\"a\":1}"), kFirstSigned);
}

TEST(WebhookSignatureTest, SignsWithEverySecret) {
  EXPECT_EQ(webhook_signature({kFirst, kSecond}, "wh_1", 1'800'000'000, "{\"a\":1}"),
            kFirstSigned + " " + kSecondSigned);
}

TEST(WebhookSignatureTest, CoversIdTimeAndBody) {
  const auto signed_as = [](const char* id, int64_t time, const char* body) {
    return webhook_signature({kFirst}, id, time, body).value();
  };
  const auto signature = signed_as("wh_1", 1'800'000'000, "{\"a\":1}");
  EXPECT_NE(signed_as("wh_2", 1'800'000'000, "{\"a\":1}"), signature);
  EXPECT_NE(signed_as("wh_1", 1'800'000'001, "{\"a\":1}"), signature);
  EXPECT_NE(signed_as("wh_1", 1'800'000'000, "{\"a\":2}"), signature);
}

TEST(WebhookSignatureTest, MakesSecretsItCanSignWith) {
  const std::string secret = new_webhook_secret();
  EXPECT_EQ(secret.size(), kFirst.size());
  EXPECT_NE(secret, new_webhook_secret());
  EXPECT_TRUE(webhook_signature({secret}, "wh_1", 1, "{}"));
}

TEST(WebhookSignatureTest, RefusesADamagedSecret) {
  for (const std::string& secret :
       {std::string(), std::string("whsec_"), std::string("whsec_AAEC"), kFirst.substr(1),
        kFirst.substr(0, kFirst.size() - 4), "whsec_!" + kFirst.substr(7)}) {
    const auto header = webhook_signature({secret}, "wh_1", 1, "{}");
    ASSERT_FALSE(header) << secret;
    EXPECT_EQ(header.error().code, ErrorCode::kDataLoss);
  }
}

}  // namespace
}  // namespace tunefleet::coordinator
