#pragma once

#include <functional>
#include <string>
#include <vector>

#include "coordinator/outbound/ip_address.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// The addresses of a host name, in the order to try them.
using Resolver = std::function<Result<std::vector<IpAddress>>(const std::string& host)>;

/// The system's resolver (getaddrinfo), given 5 s. kNotFound for a name that has no address,
/// kTimeout when no answer came. Any thread.
Result<std::vector<IpAddress>> resolve_by_system(const std::string& host);

}  // namespace tunefleet::coordinator
