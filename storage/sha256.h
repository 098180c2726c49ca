#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "proto/result.h"

struct evp_md_ctx_st;

namespace tunefleet::storage {

/// SHA-256 (FIPS 180-4) of a stream of bytes, by OpenSSL. One object makes one digest.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  /// The digest as 64 lower-case hex digits. Call once, last.
  std::string hex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// The digest of a text.
std::string sha256_hex(std::string_view text);

/// The digest of a file's content, read in pieces of 1 MiB, so that memory use is constant and a
/// file on a network mount is really read. kNotFound, kPermissionDenied, kUnavailable.
Result<std::string> sha256_file(const std::filesystem::path& path);

}  // namespace tunefleet::storage
