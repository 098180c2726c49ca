#include "coordinator/queue/redis_connection.h"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>

namespace tunefleet::coordinator {
namespace {

/// While the server works on what one carries, the next batch gathers for another; and a large
/// answer holds up only those on its own.
constexpr size_t kConnections = 4;
constexpr size_t kCallsAtOnce = 256;

timeval to_timeval(std::chrono::milliseconds duration) {
  return {.tv_sec = static_cast<time_t>(duration.count() / 1000),
          .tv_usec = static_cast<suseconds_t>(duration.count() % 1000 * 1000)};
}

/// A command as it goes over the wire (RESP: an array of bulk strings).
std::string wire_text(const std::vector<std::string>& words) {
  size_t size = 16;
  for (const auto& word : words) size += word.size() + 16;
  std::string text;
  text.reserve(size);
  const auto put_count = [&text](char kind, size_t count) {
    text += kind;
    text += std::to_string(count);
    text += "\r\n";
  };
  put_count('*', words.size());
  for (const auto& word : words) {
    put_count('$', word.size());
    text += word;
    text += "\r\n";
  }
  return text;
}

/// Puts a command where next_reply() sends it from.
void append(redisContext* context, const std::string& text) {
  redisAppendFormattedCommand(context, text.data(), text.size());
}

/// Null when the connection is of no more use.
RedisReply next_reply(redisContext* context) {
  void* reply = nullptr;
  redisGetReply(context, &reply);
  return RedisReply(static_cast<redisReply*>(reply));
}

RedisReply run(redisContext* context, const std::vector<std::string>& words) {
  append(context, wire_text(words));
  return next_reply(context);
}

bool timed_out(const redisContext& context) {
  return context.err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace

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

void RedisPool::Call::tell(Turn next) {
  const std::lock_guard lock(gate);  // To the end: once it is open the call may be gone.
  turn = next;
  woken.notify_one();
}

RedisPool::Turn RedisPool::Call::wait() {
  std::unique_lock lock(gate);
  // Whoever sends it comes back: every step there has a time limit.
  woken.wait(lock, [this] { return turn != Turn::kWait; });
  return turn;
}

Result<RedisReply> RedisPool::command(const std::vector<std::string>& words) {
  std::deque<Call> calls(1);
  calls.front().text = wire_text(words);
  run_all(calls);
  return std::move(*calls.front().result);
}

std::vector<Result<RedisReply>> RedisPool::commands(
    const std::vector<std::vector<std::string>>& list) {
  std::deque<Call> calls(list.size());
  for (size_t i = 0; i < list.size(); ++i) calls[i].text = wire_text(list[i]);
  run_all(calls);
  std::vector<Result<RedisReply>> results;
  results.reserve(calls.size());
  for (Call& call : calls) results.push_back(std::move(*call.result));
  return results;
}

/// Returns when each has its result.
void RedisPool::run_all(std::deque<Call>& calls) {
  if (rests()) {
    const auto error = unreachable("no answer in time a moment ago");
    for (Call& call : calls) call.result.emplace(error);
    return;
  }
  const bool sends = may_send(calls);
  if (sends) send_with_others(calls.front());
  for (size_t i = sends ? 1 : 0; i < calls.size(); ++i) {
    if (calls[i].wait() == Turn::kSend) send_with_others(calls[i]);
  }
}

/// Lets `calls` wait; or takes a free connection, on which the first is to be sent.
bool RedisPool::may_send(std::deque<Call>& calls) {
  const std::lock_guard lock(mutex_);
  const bool free = !calls.empty() && busy_ < kConnections;
  if (free) ++busy_;
  for (size_t i = free ? 1 : 0; i < calls.size(); ++i) waiting_.push_back(&calls[i]);
  return free;
}

/// Sends `own` and all that waits, then leaves the connection to the oldest that came meanwhile.
void RedisPool::send_with_others(Call& own) {
  const auto calls = take_calls(own);
  send(calls);
  if (Call* next = next_sender()) next->tell(Turn::kSend);
}

std::vector<RedisPool::Call*> RedisPool::take_calls(Call& own) {
  const std::lock_guard lock(mutex_);
  std::vector<Call*> calls{&own};
  while (!waiting_.empty() && calls.size() < kCallsAtOnce) {
    calls.push_back(waiting_.front());
    waiting_.pop_front();
  }
  return calls;
}

/// Null when nobody waits: the connection is free then.
RedisPool::Call* RedisPool::next_sender() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) {
    --busy_;
    return nullptr;
  }
  Call* next = waiting_.front();
  waiting_.pop_front();
  return next;
}

/// Gives each of `calls` its result, and tells those behind the first, which is the sender's own.
void RedisPool::send(const std::vector<Call*>& calls) {
  size_t answered = 0;
  const auto fail_rest = [&](const Error& error) {
    for (; answered < calls.size(); ++answered) settle(calls, answered, fail(error));
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

/// After this the call may be gone, unless it is the first.
void RedisPool::settle(const std::vector<Call*>& calls, size_t index, Result<RedisReply> result) {
  calls[index]->result.emplace(std::move(result));
  if (index > 0) calls[index]->tell(Turn::kDone);
}

/// Sends those that have no answer yet; how many of all have one then.
size_t RedisPool::send_on(redisContext& context, const std::vector<Call*>& calls, size_t answered) {
  for (size_t i = answered; i < calls.size(); ++i) append(&context, calls[i]->text);
  while (answered < calls.size()) {
    RedisReply reply = next_reply(&context);
    if (!reply) break;
    settle(calls, answered++, understood(std::move(reply)));
  }
  return answered;
}

}  // namespace tunefleet::coordinator
