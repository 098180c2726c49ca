#include "coordinator/queue/redis_connection.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <string_view>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr size_t kConnections = 4;
constexpr size_t kCallsAtOnce = 256;

timeval to_timeval(std::chrono::milliseconds duration) {
  return {.tv_sec = static_cast<time_t>(duration.count() / 1000),
          .tv_usec = static_cast<suseconds_t>(duration.count() % 1000 * 1000)};
}

/// Puts a command where next_reply() sends it from.
void append(redisContext* context, const std::vector<std::string>& words) {
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const auto& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  redisAppendCommandArgv(context, static_cast<int>(words.size()), texts.data(), sizes.data());
}

/// Null when the connection is of no more use.
RedisReply next_reply(redisContext* context) {
  void* reply = nullptr;
  redisGetReply(context, &reply);
  return RedisReply(static_cast<redisReply*>(reply));
}

RedisReply run(redisContext* context, const std::vector<std::string>& words) {
  append(context, words);
  return next_reply(context);
}

bool timed_out(const redisContext& context) {
  return context.err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
}

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

RedisPool::RedisPool(RedisAddress address, RedisTimeouts timeouts)
    : address_(std::move(address)), timeouts_(timeouts) {
  std::signal(SIGPIPE, SIG_IGN);
}

tl::unexpected<Error> RedisPool::unreachable(const std::string& why) const {
  return fail(ErrorCode::kUnavailable,
              fmt::format("Redis does not answer, start redis-server there (`tunefleet up` starts "
                          "its own) or check the address: {} ({})",
                          address_.name, why));
}

Result<RedisPool::Context> RedisPool::connect() const {
  const timeval limit = to_timeval(timeouts_.connect);
  Context context(address_.socket_path.empty()
                      ? redisConnectWithTimeout(address_.host.c_str(), address_.port, limit)
                      : redisConnectUnixWithTimeout(address_.socket_path.c_str(), limit));
  if (!context) return unreachable("out of memory");
  if (context->err != 0) return unreachable(context->errstr);
  redisSetTimeout(context.get(), to_timeval(timeouts_.command));
  std::vector<std::vector<std::string>> greetings;
  if (!address_.password.empty() && address_.user.empty()) {
    greetings.push_back({"AUTH", address_.password});
  } else if (!address_.password.empty()) {
    greetings.push_back({"AUTH", address_.user, address_.password});
  }
  if (address_.database != 0) {
    greetings.push_back({"SELECT", std::to_string(address_.database)});
  }
  for (const auto& words : greetings) {
    const RedisReply reply = run(context.get(), words);
    if (!reply) return unreachable(context->errstr);
    if (reply->type == REDIS_REPLY_ERROR) return unreachable(reply->str);
  }
  return context;
}

RedisPool::Context RedisPool::take_idle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  Context context = std::move(idle_.back());
  idle_.pop_back();
  return context;
}

void RedisPool::give_back(Context context) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(context));
}

Result<RedisReply> RedisPool::understood(RedisReply reply) const {
  if (reply->type != REDIS_REPLY_ERROR) return reply;
  const std::string_view text(reply->str, reply->len);
  for (const std::string_view start :
       {"LOADING", "MISCONF", "READONLY", "BUSY", "OOM", "MASTERDOWN", "NOAUTH", "NOPERM"}) {
    if (text.starts_with(start)) return unreachable(std::string(text));
  }
  return reply;
}

bool RedisPool::rests() {
  const std::lock_guard lock(mutex_);
  return std::chrono::steady_clock::now() < resting_until_;
}

Result<RedisReply> RedisPool::command(const std::vector<std::string>& words) {
  if (rests()) return unreachable("no answer in time a moment ago");
  Call call{.words = words};
  std::unique_lock lock(mutex_);
  waiting_.push_back(&call);
  while (!call.done) {
    if (call.taken || busy_ == kConnections) {
      call.woken.wait(lock);  // Whoever sends it comes back: every step there has a time limit.
      continue;
    }
    const auto calls = take_calls();
    ++busy_;
    lock.unlock();
    send(calls);
    lock.lock();
    --busy_;
    for (Call* each : calls) {
      each->done = true;
      each->woken.notify_one();
    }
    if (!waiting_.empty()) waiting_.front()->woken.notify_one();
  }
  return std::move(*call.result);
}

/// The oldest that wait; wants mutex_ held.
std::vector<RedisPool::Call*> RedisPool::take_calls() {
  std::vector<Call*> calls;
  while (!waiting_.empty() && calls.size() < kCallsAtOnce) {
    calls.push_back(waiting_.front());
    calls.back()->taken = true;
    waiting_.pop_front();
  }
  return calls;
}

/// Gives each of `calls` its result.
void RedisPool::send(const std::vector<Call*>& calls) {
  size_t answered = 0;
  const auto fail_rest = [&](const Error& error) {
    for (; answered < calls.size(); ++answered) calls[answered]->result.emplace(fail(error));
  };
  if (rests()) return fail_rest(unreachable("no answer in time a moment ago").value());
  // Connections that were idle may all be of a server that is gone; a fresh one gives the true
  // answer.
  for (Context context = take_idle();; context = nullptr) {
    const bool fresh = context == nullptr;
    if (fresh) {
      auto opened = connect();
      if (!opened) return fail_rest(opened.error());
      context = std::move(*opened);
    }
    answered = send_on(*context, calls, answered);
    if (answered == calls.size()) return give_back(std::move(context));
    const std::string why = context->errstr;
    const bool slow = timed_out(*context);
    {
      const std::lock_guard lock(mutex_);
      idle_.clear();
      if (slow) resting_until_ = std::chrono::steady_clock::now() + timeouts_.rest;
    }
    if (slow || fresh) return fail_rest(unreachable(why).value());
  }
}

/// Sends those that have no answer yet; how many of all have one then.
size_t RedisPool::send_on(redisContext& context, const std::vector<Call*>& calls, size_t answered) {
  for (size_t i = answered; i < calls.size(); ++i) append(&context, calls[i]->words);
  while (answered < calls.size()) {
    RedisReply reply = next_reply(&context);
    if (!reply) break;
    calls[answered++]->result.emplace(understood(std::move(reply)));
  }
  return answered;
}

}  // namespace tunefleet::coordinator
