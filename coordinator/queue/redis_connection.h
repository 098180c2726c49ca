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

#include "coordinator/queue/redis_address.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

struct FreeRedisReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
struct FreeRedisContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
using RedisReply = std::unique_ptr<redisReply, FreeRedisReply>;

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
  /// Runs several, in any order with others in between: one way to the server and back for all.
  std::vector<Result<RedisReply>> commands(const std::vector<std::vector<std::string>>& list);

 private:
  using Context = std::unique_ptr<redisContext, FreeRedisContext>;
  enum class Turn { kWait, kSend, kDone };
  /// A command on its way; lives in the stack of its caller.
  struct Call {
    std::string text{};  ///< As it goes over the wire.
    std::optional<Result<RedisReply>> result{};
    std::mutex gate{};
    Turn turn = Turn::kWait;  ///< Guarded by gate. Each caller wakes by itself: they are many.
    std::condition_variable woken{};

    void tell(Turn next);
    Turn wait();
  };

  void run_all(std::deque<Call>& calls);
  bool may_send(std::deque<Call>& calls);
  void send_with_others(Call& own);
  std::vector<Call*> take_calls(Call& own);
  Call* next_sender();
  void send(const std::vector<Call*>& calls);
  static void settle(const std::vector<Call*>& calls, size_t index, Result<RedisReply> result);
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
  std::deque<Call*> waiting_;  ///< Not taken yet; empty while a connection is free.
  size_t busy_ = 0;            ///< Callers that send.
  std::chrono::steady_clock::time_point resting_until_;
};

}  // namespace tunefleet::coordinator
