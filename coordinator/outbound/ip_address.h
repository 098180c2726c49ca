#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

struct sockaddr;

namespace tunefleet::coordinator {

/// An IPv4 or IPv6 address as a value. IPv4 is held as the mapped IPv6 address (::ffff:a.b.c.d), so
/// that both spellings are the same address.
class IpAddress {
 public:
  /// "192.0.2.1" or "2001:db8::1", in the one canonical way of writing: no octal, hexadecimal,
  /// short or zoned forms. nullopt for everything else.
  static std::optional<IpAddress> parse(std::string_view text);
  /// Of an AF_INET or AF_INET6 socket address; nullopt for another family.
  static std::optional<IpAddress> from_sockaddr(const sockaddr* address);

  bool is_v4() const;
  /// "192.0.2.1", "2001:db8::1"
  std::string text() const;
  /// The IPv4 address inside a NAT64 address (64:ff9b::/96, RFC 6052); the address itself
  /// otherwise.
  IpAddress without_nat64() const;

  bool operator==(const IpAddress&) const = default;

 private:
  friend class IpRange;
  std::array<uint8_t, 16> bytes_{};
};

/// A block of addresses: "10.0.0.0/8", "fd00::/8", or one address.
class IpRange {
 public:
  static std::optional<IpRange> parse(std::string_view text);
  bool contains(const IpAddress& address) const;

 private:
  IpAddress base_;
  int prefix_bits_ = 128;  ///< Of the 128 of the mapped form: 96 more than written for IPv4.
};

/// Why an address is not on the public internet, in a word ("loopback", "private", "link-local,
/// with the clouds' metadata services", …); nullopt for a public one. Sources: IANA's
/// special-purpose registries (RFC 6890 and later), and 168.63.129.16, which Azure answers on
/// inside every network.
std::optional<std::string_view> special_use(const IpAddress& address);

}  // namespace tunefleet::coordinator
