#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/outbound/ip_address.h"
#include "coordinator/outbound/outbound_url.h"
#include "coordinator/outbound/resolver.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// What an operator lets users call beyond public https.
struct OutboundPolicy {
  bool allow_http = false;           ///< http to public addresses, ports 80 and 8080.
  std::vector<std::string> hosts{};  ///< Names in lower case whose every address is fine.
  std::vector<IpRange> ranges{};     ///< Addresses that are fine although they are not public.

  /// Adds an entry of the operator's allow-list: a host name, an address or a CIDR range. What it
  /// names may be called by http and on any port. kInvalidArgument for anything else.
  Status allow(std::string_view entry);
};

/// A URL that may be called, and the only addresses it may be called at.
struct OutboundTarget {
  OutboundUrl url{};
  std::vector<IpAddress> addresses{};  ///< At least one.
};

/// Decides which addresses users may have the service call. A value; any thread.
class OutboundGuard {
 public:
  explicit OutboundGuard(OutboundPolicy policy, Resolver resolver = resolve_by_system)
      : policy_(std::move(policy)), resolver_(std::move(resolver)) {}

  /// Everything that can be said of a URL without asking a name server: for the moment a user
  /// enters it. kInvalidArgument with the reason.
  Result<OutboundUrl> check(std::string_view url) const;

  /// Resolves the host once and checks every address it has. kInvalidArgument when the URL or one
  /// of the addresses is not allowed; the resolver's error when there is no address.
  Result<OutboundTarget> admit(std::string_view url) const;

 private:
  bool is_listed(const OutboundUrl& url) const;
  bool is_listed(const IpAddress& address) const;
  Status check_scheme_and_port(const OutboundUrl& url) const;

  OutboundPolicy policy_;
  Resolver resolver_;
};

}  // namespace tunefleet::coordinator
