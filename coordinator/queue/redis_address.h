#pragma once

#include <string>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// Where a Redis server listens.
struct RedisAddress {
  std::string name;         ///< The URL without its password, for messages.
  std::string socket_path;  ///< Of a unix:// address; empty for TCP.
  std::string host;
  int port = 6379;
  int database = 0;
  std::string user;
  std::string password;
};

/// Reads unix:///path/redis.sock or redis://[[user]:password@]host[:port][/database].
Result<RedisAddress> parse_redis_url(const std::string& url);

}  // namespace tunefleet::coordinator
