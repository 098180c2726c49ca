#pragma once

#include <hiredis/hiredis.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

struct FreeRedisReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
struct FreeRedisContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
using RedisReply = std::unique_ptr<redisReply, FreeRedisReply>;

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

struct RedisTimeouts {
  std::chrono::milliseconds connect{1000};
  std::chrono::milliseconds command{3000};
  std::chrono::milliseconds rest{
      1000};  ///< After a command timed out: how long calls fail at once.
};

/// A few connections that it opens, checks and replaces by itself. Thread-safe. Who finds one free
/// sends all that has gathered meanwhile, its own command and others', and hands the answers out:
/// alone nobody waits, and under load a server that syncs its file before it answers does so for
/// many commands at once.
///
/// A command whose connection turns out to be closed is sent once more on a new one, so that a
/// restarted server is not noticed by callers: it may then run twice, and the scripts are made for
/// that. Process-wide: SIGPIPE is ignored (hiredis writes with write(2)).
class RedisPool {
 public:
  explicit RedisPool(RedisAddress address, RedisTimeouts timeouts = {});

  /// Runs one command; `words` are binary-safe. An error reply is returned as a reply, except those
  /// that say that the server cannot work now (loading, disk full, read-only), which are
  /// kUnavailable. kUnavailable names the address and the way out.
  Result<RedisReply> command(const std::vector<std::string>& words);

 private:
  using Context = std::unique_ptr<redisContext, FreeRedisContext>;
  /// A command on its way; lives in the stack of its caller.
  struct Call {
    const std::vector<std::string>& words;
    std::optional<Result<RedisReply>> result{};
    bool taken = false;  ///< Somebody sends it. Guarded by mutex_, like done.
    bool done = false;
    std::condition_variable woken{};
  };

  std::vector<Call*> take_calls();
  void send(const std::vector<Call*>& calls);
  size_t send_on(redisContext& context, const std::vector<Call*>& calls, size_t answered);
  bool rests();
  Result<Context> connect() const;
  Context take_idle();
  void give_back(Context context);
  tl::unexpected<Error> unreachable(const std::string& why) const;
  Result<RedisReply> understood(RedisReply reply) const;

  RedisAddress address_;
  RedisTimeouts timeouts_;
  std::mutex mutex_;
  std::vector<Context> idle_;  ///< Guarded by mutex_, like what follows.
  std::deque<Call*> waiting_;  ///< Not taken yet.
  size_t busy_ = 0;            ///< Callers that send.
  std::chrono::steady_clock::time_point resting_until_;
};

}  // namespace tunefleet::coordinator
