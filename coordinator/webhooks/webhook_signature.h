#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// A new signing secret: "whsec_" and 256 random bits as base64.
std::string new_webhook_secret();

/// The value of webhook-signature: for each secret "v1," and base64(HMAC-SHA256(the secret's bytes,
/// "id.timestamp.body")), separated by spaces; a receiver takes the delivery when one of them is
/// right. `timestamp_s` is the value of webhook-timestamp. kDataLoss for a secret that is not ours.
/// Source: standardwebhooks.com, specification 1.0, which OpenAI's clients verify by.
Result<std::string> webhook_signature(const std::vector<std::string>& secrets, std::string_view id,
                                      int64_t timestamp_s, std::string_view body);

}  // namespace tunefleet::coordinator
