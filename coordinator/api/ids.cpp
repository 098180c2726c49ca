#include "coordinator/api/ids.h"

#include <openssl/rand.h>

#include <stdexcept>
#include <vector>

namespace tunefleet::coordinator {
namespace {

constexpr std::string_view kAlphanumeric =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kBase64Url =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::vector<unsigned char> random_bytes(size_t count) {
  std::vector<unsigned char> bytes(count);
  if (RAND_bytes(bytes.data(), static_cast<int>(count)) != 1) {
    throw std::runtime_error("the system gives no random numbers");
  }
  return bytes;
}

}  // namespace

std::string random_id(std::string_view prefix, size_t length) {
  std::string id(prefix);
  const size_t end = prefix.size() + length;
  while (id.size() < end) {
    for (const unsigned char byte : random_bytes(2 * length)) {
      // 248 = 4 * 62: above it some characters would come more often than others.
      if (byte < 248 && id.size() < end) id += kAlphanumeric[byte % kAlphanumeric.size()];
    }
  }
  return id;
}

std::string random_base64url(size_t bytes) {
  std::string text;
  unsigned bits = 0;
  int held = 0;
  for (const unsigned char byte : random_bytes(bytes)) {
    bits = (bits << 8) | byte;
    for (held += 8; held >= 6; held -= 6) text += kBase64Url[(bits >> (held - 6)) & 63];
  }
  if (held > 0) text += kBase64Url[(bits << (6 - held)) & 63];
  return text;
}

bool is_id(std::string_view text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  const auto rest = text.substr(prefix.size());
  return !rest.empty() && rest.size() <= 64 &&
         rest.find_first_not_of(kAlphanumeric) == std::string_view::npos;
}

}  // namespace tunefleet::coordinator
