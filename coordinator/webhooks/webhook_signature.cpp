#include "coordinator/webhooks/webhook_signature.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <optional>
#include <span>
#include <stdexcept>

namespace tunefleet::coordinator {
namespace {

constexpr std::string_view kPrefix = "whsec_";
constexpr size_t kSecretBytes = 32;
constexpr size_t kDigestBytes = 32;
using Bytes = std::vector<unsigned char>;

std::string to_base64(std::span<const unsigned char> bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3), '\0');
  // One more byte than the text: EVP_EncodeBlock ends it with a NUL, which std::string has room
  // for.
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                  static_cast<int>(bytes.size()));
  return text;
}

std::optional<Bytes> secret_bytes(std::string_view secret) {
  if (!secret.starts_with(kPrefix)) return std::nullopt;
  secret.remove_prefix(kPrefix.size());
  Bytes bytes(secret.size() / 4 * 3);
  const auto* text = reinterpret_cast<const unsigned char*>(secret.data());
  const int decoded = EVP_DecodeBlock(bytes.data(), text, static_cast<int>(secret.size()));
  // It counts the padding: 44 characters are 33 bytes, the last one of them not there.
  if (decoded != static_cast<int>(kSecretBytes) + 1 || !secret.ends_with('=')) return std::nullopt;
  bytes.resize(kSecretBytes);
  return bytes;
}

std::string hmac_sha256(const Bytes& key, std::string_view text) {
  std::array<unsigned char, kDigestBytes> digest{};
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes, text.size(),
           digest.data(), nullptr) == nullptr) {
    throw std::runtime_error("HMAC-SHA256 is not offered by this OpenSSL library");
  }
  return to_base64(digest);
}

}  // namespace

std::string new_webhook_secret() {
  std::array<unsigned char, kSecretBytes> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw std::runtime_error("the system gives no random numbers");
  }
  return std::string(kPrefix) + to_base64(bytes);
}

Result<std::string> webhook_signature(const std::vector<std::string>& secrets, std::string_view id,
                                      int64_t timestamp_s, std::string_view body) {
  const std::string signed_text = fmt::format("{}.{}.{}", id, timestamp_s, body);
  std::string header;
  for (const std::string& secret : secrets) {
    const auto key = secret_bytes(secret);
    if (!key) {
      return fail(ErrorCode::kDataLoss,
                  "a stored signing secret is damaged; rotate the endpoint's secret");
    }
    header += fmt::format("{}v1,{}", header.empty() ? "" : " ", hmac_sha256(*key, signed_text));
  }
  return header;
}

}  // namespace tunefleet::coordinator
