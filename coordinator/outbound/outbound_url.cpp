#include "coordinator/outbound/outbound_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "coordinator/outbound/ip_address.h"

namespace tunefleet::coordinator {
namespace {

constexpr size_t kMaxUrl = 2048;
constexpr size_t kMaxHost = 253;
constexpr size_t kMaxLabel = 63;
constexpr int kMaxPort = 65'535;
constexpr std::string_view kHttps = "https://";
constexpr std::string_view kHttp = "http://";

tl::unexpected<Error> wrong(std::string_view what) {
  return fail(ErrorCode::kInvalidArgument, fmt::format("the URL cannot be used: {}", what));
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

bool is_label(std::string_view label) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  };
  return !label.empty() && label.size() <= kMaxLabel && label.front() != '-' &&
         label.back() != '-' && std::all_of(label.begin(), label.end(), allowed);
}

/// What inet_aton and browsers take for a part of an IPv4 address: "127", "0177", "0x7f", "0x".
bool is_numeric(std::string_view label) {
  const bool hex = label.starts_with("0x");
  const auto digits = label.substr(hex ? 2 : 0);
  return std::all_of(digits.begin(), digits.end(), [hex](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return hex ? std::isxdigit(byte) != 0 : std::isdigit(byte) != 0;
  });
}

/// A host name or a dotted quad, in lower case.
Status check_name(std::string_view host) {
  if (host.empty()) return wrong("it names no host");
  if (host.size() > kMaxHost) return wrong("its host is too long");
  std::string_view rest = host;
  std::string_view last;
  for (bool more = true; more;) {
    const size_t dot = rest.find('.');
    more = dot != std::string_view::npos;
    last = rest.substr(0, dot);
    if (!is_label(last)) return wrong("its host is not a name of letters, digits, dots and dashes");
    rest.remove_prefix(more ? dot + 1 : rest.size());
  }
  if (is_numeric(last) && !IpAddress::parse(host)) {
    return wrong("its host is an address in an odd spelling, write it as 192.0.2.1");
  }
  return {};
}

/// Takes ":port" from behind the host; `rest` is what follows the host.
Status read_port(std::string_view rest, OutboundUrl& url) {
  if (rest.empty()) return {};
  const auto digits = rest.substr(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), url.port);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  if (rest[0] != ':' || !whole || digits.starts_with('-') || url.port < 1 || url.port > kMaxPort) {
    return wrong("its port is not a number from 1 to 65535");
  }
  return {};
}

Status read_authority(std::string_view authority, OutboundUrl& url) {
  if (authority.find('@') != std::string_view::npos) {
    return wrong("it carries user information before an @");
  }
  if (!authority.starts_with('[')) {
    const size_t colon = std::min(authority.find(':'), authority.size());
    url.host = lower_case(authority.substr(0, colon));
    if (const auto named = check_name(url.host); !named) return named;
    return read_port(authority.substr(colon), url);
  }
  const size_t end = authority.find(']');
  if (end == std::string_view::npos) return wrong("a bracket of its host is not closed");
  url.host = lower_case(authority.substr(1, end - 1));
  if (url.host.find(':') == std::string::npos || !IpAddress::parse(url.host)) {
    return wrong("its host in brackets is not an IPv6 address");
  }
  return read_port(authority.substr(end + 1), url);
}

}  // namespace

std::string OutboundUrl::origin() const {
  const bool v6 = host.find(':') != std::string::npos;
  return fmt::format("{}{}{}{}:{}", https ? kHttps : kHttp, v6 ? "[" : "", host, v6 ? "]" : "",
                     port);
}

std::string OutboundUrl::text() const { return origin() + path; }

Result<OutboundUrl> parse_outbound_url(std::string_view text) {
  if (text.size() > kMaxUrl) return wrong("it is longer than 2048 characters");
  if (!is_printable(text)) return wrong("it holds spaces or characters that are not ASCII");
  if (text.find_first_of("\\#") != std::string_view::npos) {
    return wrong("it holds a backslash or a fragment");
  }
  OutboundUrl url;
  const std::string scheme = lower_case(text.substr(0, kHttps.size()));
  url.https = scheme == kHttps;
  if (!url.https && !scheme.starts_with(kHttp)) return wrong("it does not begin with https://");
  url.port = url.https ? 443 : 80;
  text.remove_prefix(url.https ? kHttps.size() : kHttp.size());
  const size_t end = std::min(text.find_first_of("/?"), text.size());
  if (const auto read = read_authority(text.substr(0, end), url); !read) return fail(read.error());
  url.path = text.substr(end);
  if (!url.path.starts_with('/')) url.path.insert(0, "/");
  return url;
}

}  // namespace tunefleet::coordinator
