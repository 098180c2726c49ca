#include "coordinator/queue/redis_scripts.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace tunefleet::coordinator {

/// SHA-1 of a script as Redis knows it. It depends on the text alone, so it stays right over
/// restarts.
Result<std::string> RedisScripts::digest_of(const char* script) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = digests_.find(script); found != digests_.end()) return found->second;
  }
  auto reply = redis_.command({"SCRIPT", "LOAD", script});
  if (!reply) return fail(reply.error());
  if ((*reply)->type != REDIS_REPLY_STRING) {
    return fail(ErrorCode::kInternal,
                fmt::format("Redis refused to load a script: {}", text_of(**reply)));
  }
  const std::lock_guard lock(mutex_);
  return digests_[script] = text_of(**reply);
}

Result<RedisReply> RedisScripts::run(const char* script, const Words& keys,
                                     const Words& arguments) {
  const auto digest = digest_of(script);
  if (!digest) return fail(digest.error());
  Words words{"EVALSHA", *digest, std::to_string(keys.size())};
  words.insert(words.end(), keys.begin(), keys.end());
  words.insert(words.end(), arguments.begin(), arguments.end());
  auto reply = redis_.command(words);
  if (!reply || (*reply)->type != REDIS_REPLY_ERROR || !text_of(**reply).starts_with("NOSCRIPT")) {
    return reply;
  }
  words[0] = "EVAL";  // The server was restarted and has forgotten its scripts.
  words[1] = script;
  return redis_.command(words);
}

std::string text_of(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_INTEGER) return std::to_string(reply.integer);
  return reply.str == nullptr ? std::string() : std::string(reply.str, reply.len);
}

int64_t leading_number(std::string_view text) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

HashFields fields_of(const redisReply& flat) {
  HashFields fields;
  for (size_t i = 0; i + 1 < flat.elements; i += 2) {
    const redisReply& name = *flat.element[i];
    const redisReply& value = *flat.element[i + 1];
    if (name.str == nullptr || value.str == nullptr) continue;
    fields.emplace(std::string_view(name.str, name.len), std::string_view(value.str, value.len));
  }
  return fields;
}

Result<const redisReply*> answer_of(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_ERROR) {
    return fail(ErrorCode::kInternal, fmt::format("Redis refused a script: {}", text_of(reply)));
  }
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements == 0) {
    return fail(ErrorCode::kInternal, "Redis answered a script with another type than it returns");
  }
  const std::string word = text_of(*reply.element[0]);
  if (word == "ok") return reply.elements > 1 ? reply.element[1] : nullptr;
  return fail(error_code_from_name(word),
              reply.elements > 1 ? text_of(*reply.element[1]) : std::string());
}

}  // namespace tunefleet::coordinator
