#pragma once

#include <string>
#include <string_view>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// A URL in its parts. `text()` puts together what was read, and only that.
struct OutboundUrl {
  bool https = true;
  std::string host;  ///< In lower case: a name, or an address without brackets.
  int port = 443;
  std::string path = "/";  ///< With the query.

  /// "https://hooks.example:443/path?query"; the port is always there.
  std::string text() const;
  /// What a log may show: without path and query, which often carry a secret.
  std::string origin() const;
};

/// Reads a URL a user wrote: http or https, a host name or a canonical address, optionally a port,
/// path and query of printable ASCII, at most 2048 characters. kInvalidArgument says what is wrong
/// with it; everything that two programs might read in two ways is wrong: user info, fragments,
/// backslashes, escapes in the host, numeric spellings of addresses, names ending in a dot.
Result<OutboundUrl> parse_outbound_url(std::string_view text);

}  // namespace tunefleet::coordinator
