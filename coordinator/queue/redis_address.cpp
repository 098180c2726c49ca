#include "coordinator/queue/redis_address.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace tunefleet::coordinator {
namespace {

Result<int> number_between(std::string_view text, int low, int high) {
  int number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || number < low || number > high) {
    return fail(ErrorCode::kInvalidArgument, std::string(text));
  }
  return number;
}

tl::unexpected<Error> bad_url(const std::string& name) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("bad Redis address, write unix:///path/redis.sock or "
                          "redis://host:port/database: {}",
                          name));
}

/// The part after redis://: [[user]:password@]host[:port][/database].
Result<RedisAddress> parse_tcp(std::string_view rest) {
  RedisAddress address;
  if (const auto at = rest.rfind('@'); at != rest.npos) {
    const auto login = rest.substr(0, at);
    const auto colon = login.find(':');
    address.user = colon == login.npos ? "" : login.substr(0, colon);
    address.password = colon == login.npos ? login : login.substr(colon + 1);
    rest.remove_prefix(at + 1);
  }
  address.name = fmt::format("redis://{}", rest);
  if (const auto slash = rest.find('/'); slash != rest.npos) {
    if (slash + 1 < rest.size()) {
      const auto database = number_between(rest.substr(slash + 1), 0, 1 << 20);
      if (!database) return bad_url(address.name);
      address.database = *database;
    }
    rest = rest.substr(0, slash);
  }
  if (const auto colon = rest.rfind(':'); colon != rest.npos) {
    const auto port = number_between(rest.substr(colon + 1), 1, 65535);
    if (!port) return bad_url(address.name);
    address.port = *port;
    rest = rest.substr(0, colon);
  }
  if (rest.empty()) return bad_url(address.name);
  address.host = rest;
  return address;
}

}  // namespace

Result<RedisAddress> parse_redis_url(const std::string& url) {
  constexpr std::string_view kUnix = "unix://";
  constexpr std::string_view kTcp = "redis://";
  if (url.starts_with(kTcp)) return parse_tcp(std::string_view(url).substr(kTcp.size()));
  if (!url.starts_with(kUnix) || url.size() == kUnix.size()) return bad_url(url);
  RedisAddress address;
  address.name = url;
  address.socket_path = url.substr(kUnix.size());
  return address;
}

}  // namespace tunefleet::coordinator
