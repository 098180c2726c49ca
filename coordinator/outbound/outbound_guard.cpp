#include "coordinator/outbound/outbound_guard.h"

#include <fmt/format.h>

#include <algorithm>

namespace tunefleet::coordinator {
namespace {

tl::unexpected<Error> refused(std::string reason) {
  return fail(ErrorCode::kInvalidArgument, std::move(reason));
}

/// The address stays out of the text: a user is not told what names of ours resolve to.
tl::unexpected<Error> refused_address(const OutboundUrl& url, std::string_view use) {
  return refused(fmt::format(
      "the host's address may not be called ({}); an operator can list it in --webhook-allow: {}",
      use, url.host));
}

bool is_one_of(int port, std::initializer_list<int> allowed) {
  return std::find(allowed.begin(), allowed.end(), port) != allowed.end();
}

}  // namespace

Status OutboundPolicy::allow(std::string_view entry) {
  if (const auto range = IpRange::parse(entry)) {
    ranges.push_back(*range);
    return {};
  }
  const auto url = parse_outbound_url(fmt::format("https://{}", entry));
  if (!url || url->text() != fmt::format("https://{}:443/", url->host)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("an entry of the allow-list is a host name, an address or a range such "
                            "as 10.0.0.0/8: {}",
                            entry));
  }
  hosts.push_back(url->host);
  return {};
}

bool OutboundGuard::is_listed(const IpAddress& address) const {
  return std::any_of(policy_.ranges.begin(), policy_.ranges.end(),
                     [&](const IpRange& range) { return range.contains(address); });
}

bool OutboundGuard::is_listed(const OutboundUrl& url) const {
  if (const auto address = IpAddress::parse(url.host)) return is_listed(*address);
  return std::find(policy_.hosts.begin(), policy_.hosts.end(), url.host) != policy_.hosts.end();
}

Status OutboundGuard::check_scheme_and_port(const OutboundUrl& url) const {
  if (!url.https && !policy_.allow_http) {
    return refused(fmt::format("the URL must begin with https://: {}", url.origin()));
  }
  const bool usual = url.https ? is_one_of(url.port, {443, 8443}) : is_one_of(url.port, {80, 8080});
  if (usual) return {};
  return refused(fmt::format("the URL's port may not be called, use {}: {}",
                             url.https ? "443 or 8443" : "80 or 8080", url.origin()));
}

Result<OutboundUrl> OutboundGuard::check(std::string_view text) const {
  auto url = parse_outbound_url(text);
  if (!url || is_listed(*url)) return url;
  if (const auto usual = check_scheme_and_port(*url); !usual) return fail(usual.error());
  if (const auto address = IpAddress::parse(url->host)) {
    if (const auto use = special_use(*address)) return refused_address(*url, *use);
  }
  return url;
}

Result<OutboundTarget> OutboundGuard::admit(std::string_view text) const {
  auto url = check(text);
  if (!url) return fail(url.error());
  OutboundTarget target{.url = std::move(*url)};
  if (const auto address = IpAddress::parse(target.url.host)) {
    target.addresses.push_back(*address);
    return target;
  }
  auto addresses = resolver_(target.url.host);
  if (!addresses) return fail(addresses.error());
  if (addresses->empty()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("the host's name has no address: {}", target.url.host));
  }
  const bool any_address = is_listed(target.url);
  for (const IpAddress& address : *addresses) {
    if (any_address || is_listed(address)) continue;
    if (const auto use = special_use(address)) return refused_address(target.url, *use);
  }
  target.addresses = std::move(*addresses);
  return target;
}

}  // namespace tunefleet::coordinator
