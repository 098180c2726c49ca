#include "coordinator/outbound/ip_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

namespace tunefleet::coordinator {
namespace {

constexpr size_t kV4Offset = 12;  // Of the four bytes inside a mapped address.
constexpr int kV4PrefixBits = 96;
constexpr std::array<uint8_t, kV4Offset> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr std::array<uint8_t, kV4Offset> kNat64{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0};

struct SpecialRange {
  const char* range;
  std::string_view use;
};

constexpr SpecialRange kSpecialV4[] = {
    {"0.0.0.0/8", "unspecified"},
    {"10.0.0.0/8", "private"},
    {"100.64.0.0/10", "shared by carriers"},
    {"127.0.0.0/8", "loopback"},
    {"168.63.129.16/32", "a cloud's metadata service"},
    {"169.254.0.0/16", "link-local, with the clouds' metadata services"},
    {"172.16.0.0/12", "private"},
    {"192.0.0.0/24", "reserved for protocols"},
    {"192.0.2.0/24", "documentation"},
    {"192.88.99.0/24", "6to4"},
    {"192.168.0.0/16", "private"},
    {"198.18.0.0/15", "benchmarks"},
    {"198.51.100.0/24", "documentation"},
    {"203.0.113.0/24", "documentation"},
    {"224.0.0.0/4", "multicast"},
    {"240.0.0.0/4", "reserved"},
};

/// Looked at in this order; what is in none of them and not in 2000::/3 is refused too.
constexpr SpecialRange kSpecialV6[] = {
    {"::/128", "unspecified"},
    {"::1/128", "loopback"},
    {"64:ff9b:1::/48", "a private NAT64"},
    {"fc00::/7", "private"},
    {"fe80::/10", "link-local"},
    {"ff00::/8", "multicast"},
    {"2001::/23", "reserved for protocols, Teredo among them"},
    {"2001:db8::/32", "documentation"},
    {"2002::/16", "6to4"},
    {"3fff::/20", "documentation"},
};
constexpr const char* kGlobalUnicast = "2000::/3";

struct ParsedRange {
  IpRange range;
  std::string_view use;
};

template <size_t n>
std::vector<ParsedRange> parse_table(const SpecialRange (&table)[n]) {
  std::vector<ParsedRange> parsed;
  for (const auto& entry : table) parsed.push_back({*IpRange::parse(entry.range), entry.use});
  return parsed;
}

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  if (terminated.find('\0') != std::string::npos) return std::nullopt;
  IpAddress address;
  if (::inet_pton(AF_INET6, terminated.c_str(), address.bytes_.data()) == 1) return address;
  std::copy(kMapped.begin(), kMapped.end(), address.bytes_.begin());
  if (::inet_pton(AF_INET, terminated.c_str(), address.bytes_.data() + kV4Offset) == 1) {
    return address;
  }
  return std::nullopt;
}

std::optional<IpAddress> IpAddress::from_sockaddr(const sockaddr* address) {
  IpAddress result;
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, address, sizeof(v6));
    std::memcpy(result.bytes_.data(), &v6.sin6_addr, sizeof(v6.sin6_addr));
    return result;
  }
  if (address->sa_family != AF_INET) return std::nullopt;
  sockaddr_in v4{};
  std::memcpy(&v4, address, sizeof(v4));
  std::copy(kMapped.begin(), kMapped.end(), result.bytes_.begin());
  std::memcpy(result.bytes_.data() + kV4Offset, &v4.sin_addr, sizeof(v4.sin_addr));
  return result;
}

bool IpAddress::is_v4() const { return std::equal(kMapped.begin(), kMapped.end(), bytes_.begin()); }

std::string IpAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  const auto* bytes = bytes_.data() + (is_v4() ? kV4Offset : 0);
  ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes, buffer.data(), buffer.size());
  return buffer.data();
}

IpAddress IpAddress::without_nat64() const {
  if (!std::equal(kNat64.begin(), kNat64.end(), bytes_.begin())) return *this;
  IpAddress inside = *this;
  std::copy(kMapped.begin(), kMapped.end(), inside.bytes_.begin());
  return inside;
}

std::optional<IpRange> IpRange::parse(std::string_view text) {
  const size_t slash = text.find('/');
  const auto base = IpAddress::parse(text.substr(0, slash));
  if (!base) return std::nullopt;
  IpRange range;
  range.base_ = *base;
  if (slash == std::string_view::npos) return range;
  const auto digits = text.substr(slash + 1);
  const int added = base->is_v4() && text.find(':') == std::string_view::npos ? kV4PrefixBits : 0;
  int bits = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  if (!whole || bits < 0 || bits + added > 128) return std::nullopt;
  range.prefix_bits_ = bits + added;
  return range;
}

bool IpRange::contains(const IpAddress& address) const {
  const auto whole = static_cast<size_t>(prefix_bits_ / 8);
  const int rest = prefix_bits_ % 8;
  const auto& mine = base_.bytes_;
  const auto& other = address.bytes_;
  if (!std::equal(mine.begin(), mine.begin() + static_cast<ptrdiff_t>(whole), other.begin())) {
    return false;
  }
  return rest == 0 || (mine[whole] ^ other[whole]) >> (8 - rest) == 0;
}

std::optional<std::string_view> special_use(const IpAddress& address) {
  static const auto special_v4 = parse_table(kSpecialV4);
  static const auto special_v6 = parse_table(kSpecialV6);
  static const auto global_unicast = *IpRange::parse(kGlobalUnicast);
  const IpAddress real = address.without_nat64();
  for (const auto& [range, use] : real.is_v4() ? special_v4 : special_v6) {
    if (range.contains(real)) return use;
  }
  if (real.is_v4() || global_unicast.contains(real)) return std::nullopt;
  return "not global unicast";
}

}  // namespace tunefleet::coordinator
