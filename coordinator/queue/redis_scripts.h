#pragma once

#include <hiredis/hiredis.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/queue/job_hash.h"
#include "coordinator/queue/redis_connection.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Runs the Lua scripts of this folder (lua_scripts.h) by their digests. Thread-safe.
class RedisScripts {
 public:
  using Words = std::vector<std::string>;

  /// `redis` outlives this.
  explicit RedisScripts(RedisPool& redis) : redis_(redis) {}

  /// `script` is one of lua_scripts.h, known by its address. What it answers is for answer_of().
  Result<RedisReply> run(const char* script, const Words& keys, const Words& arguments);

 private:
  Result<std::string> digest_of(const char* script);

  RedisPool& redis_;
  std::mutex mutex_;
  std::map<const char*, std::string> digests_;  ///< Guarded by mutex_.
};

/// Of a string or a number.
std::string text_of(const redisReply& reply);

/// The decimal number that the text begins with; 0 where there is none.
int64_t leading_number(std::string_view text);

/// Field, value, field, value … as a map, which borrows them.
HashFields fields_of(const redisReply& flat);

/// The second element of {'ok', value}, null where there is none; the scripts' refusals and Redis'
/// errors as errors.
Result<const redisReply*> answer_of(const redisReply& reply);

}  // namespace tunefleet::coordinator
