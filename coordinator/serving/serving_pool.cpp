#include "coordinator/serving/serving_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestPause{1'000};  // Between two looks at who is idle.

ChatFailed failed(int64_t id, const Error& error) {
  return {.id = id, .code = error.code, .message = error.message};
}

Error stopping() { return {ErrorCode::kUnavailable, "the service is stopping"}; }

}  // namespace

ServingPool::ServingPool(ServingOptions options)
    : options_(std::move(options)), keeper_([this] { keep(); }) {}

ServingPool::~ServingPool() { stop(); }

Result<std::shared_ptr<Conversation>> ServingPool::ask(ChatTask task) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return fail(stopping());
  if (options_.program.empty()) {
    return fail(ErrorCode::kUnavailable,
                "models are not served here: tunefleet-trainer is missing beside tunefleet, or "
                "--chat-models is 0");
  }
  if (count_of(&task.owner) >= options_.max_of_owner) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("too many conversations of yours wait for an answer, at most {}; try "
                            "again when one has ended",
                            options_.max_of_owner));
  }
  if (count_of(nullptr) >= options_.max_waiting) {
    return fail(ErrorCode::kUnavailable, "too many conversations wait for an answer, try again");
  }
  const int64_t id = ++last_id_;
  task.order.id = id;
  auto replies = std::make_shared<ReplyBox>();
  waiting_.push_back({.task = std::move(task), .replies = replies});
  changed_.notify_all();
  return std::make_shared<Conversation>(std::move(replies), [this, id] { leave(id); });
}

void ServingPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (keeper_.joinable()) keeper_.join();
  Lock lock(mutex_);
  for (const Asked& asked : waiting_) asked.replies->put(failed(asked.task.order.id, stopping()));
  waiting_.clear();
  for (Seat& seat : seats_) {
    if (!seat.current) continue;
    seat.current->replies->put(failed(seat.current->task.order.id, stopping()));
    seat.current.reset();
    seat.server->kill();  // It would go on with the answer for as long as that takes.
  }
  while (!seats_.empty()) end(seats_.begin(), lock);
}

std::vector<std::filesystem::path> ServingPool::loaded() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::filesystem::path> bases;
  for (const Seat& seat : seats_) bases.push_back(seat.base);
  return bases;
}

void ServingPool::keep() {
  const auto pause = std::min({kLongestPause, options_.idle / 2, options_.stalled / 2});
  Lock lock(mutex_);
  while (!stopping_) {
    if (!step(lock)) changed_.wait_for(lock, pause);
  }
}

bool ServingPool::step(Lock& lock) {
  return bury_dead(lock) || send_cancels(lock) || retire_idle(lock) || follow_plan(lock);
}

bool ServingPool::bury_dead(Lock& lock) {
  const auto dead = std::find_if(seats_.begin(), seats_.end(),
                                 [](const Seat& seat) { return seat.ended.has_value(); });
  if (dead == seats_.end()) return false;
  log::warning(fmt::format("the server of {} {}; its log: {}", dead->base.string(), *dead->ended,
                           options_.log.string()));
  const Error why = dead->failure.value_or(
      Error{ErrorCode::kUnavailable,
            fmt::format("the model's server {} while it {}, the service's log may say why; try "
                        "again",
                        *dead->ended, dead->loaded ? "answered" : "loaded the model")});
  if (dead->current) dead->current->replies->put(failed(dead->current->task.order.id, why));
  dead->current.reset();
  if (!dead->loaded) fail_waiting(dead->base, why);
  end(dead, lock);
  return true;
}

bool ServingPool::send_cancels(Lock& lock) {
  const auto seat = std::find_if(seats_.begin(), seats_.end(),
                                 [](const Seat& each) { return each.cancel && each.current; });
  if (seat == seats_.end()) return false;
  seat->cancel = false;
  const ChatCancel cancel{seat->current->task.order.id};
  lock.unlock();
  const auto sent = seat->server->send(cancel);
  if (!sent) seat->server->kill();
  lock.lock();
  return true;
}

bool ServingPool::retire_idle(Lock& lock) {
  const auto now = Clock::now();
  for (auto seat = seats_.begin(); seat != seats_.end(); ++seat) {
    const auto silent = now - seat->last;
    if (!seat->current && silent > options_.idle) {
      end(seat, lock);
      return true;
    }
    if (seat->current && silent > options_.stalled) {
      log::error(fmt::format("the server of {} says nothing any more, it is killed; its log: {}",
                             seat->base.string(), options_.log.string()));
      seat->last = now;
      seat->server->kill();
    }
  }
  return false;
}

bool ServingPool::follow_plan(Lock& lock) {
  std::vector<ServerView> servers;
  for (const Seat& seat : seats_) {
    servers.push_back({.base = seat.base, .busy = seat.current.has_value()});
  }
  std::vector<std::filesystem::path> waiting;
  for (const Asked& asked : waiting_) waiting.push_back(asked.task.base);
  const auto next = next_serving_step(servers, waiting, options_.max_servers);
  if (!next) return false;
  if (const auto* wanted = std::get_if<StartServer>(&*next)) start(wanted->base);
  if (const auto* unused = std::get_if<EndServer>(&*next)) end(seat_of(unused->base), lock);
  if (const auto* turn = std::get_if<AdmitWaiting>(&*next)) admit(turn->index, lock);
  return true;
}

void ServingPool::start(const std::filesystem::path& base) {
  Seat& seat = seats_.emplace_back();
  seat.base = base;
  seat.last = Clock::now();
  auto server = ModelServer::start(
      options_.program, base, options_.log,
      {.on_reply = [this, &seat](ServeReply reply) { on_reply(seat, std::move(reply)); },
       .on_end =
           [this, &seat](std::string how) {
             const std::lock_guard lock(mutex_);
             seat.ended = std::move(how);
             changed_.notify_all();
           }});
  if (server) {
    seat.server = std::move(*server);
    return;
  }
  log::error(server.error().message);
  seats_.pop_back();
  fail_waiting(base, {ErrorCode::kUnavailable, server.error().message});
}

void ServingPool::admit(size_t index, Lock& lock) {
  const auto asked = waiting_.begin() + static_cast<std::ptrdiff_t>(index);
  const auto seat = seat_of(asked->task.base);
  const ServeOrder order = asked->task.order;
  seat->current = std::move(*asked);
  seat->cancel = false;
  seat->last = Clock::now();
  waiting_.erase(asked);
  seats_.splice(seats_.end(), seats_, seat);
  lock.unlock();
  const auto sent = seat->server->send(order);
  if (!sent) seat->server->kill();
  lock.lock();
}

/// The seat stays until its server has gone: the server's thread still writes there.
void ServingPool::end(std::list<Seat>::iterator seat, Lock& lock) {
  auto server = std::move(seat->server);
  lock.unlock();
  server.reset();
  lock.lock();
  seats_.erase(seat);
}

void ServingPool::fail_waiting(const std::filesystem::path& base, const Error& error) {
  for (const Asked& asked : waiting_) {
    if (asked.task.base == base) asked.replies->put(failed(asked.task.order.id, error));
  }
  std::erase_if(waiting_, [&](const Asked& asked) { return asked.task.base == base; });
}

void ServingPool::on_reply(Seat& seat, ServeReply reply) {
  const std::lock_guard lock(mutex_);
  seat.last = Clock::now();
  if (std::holds_alternative<ServerReady>(reply)) {
    seat.loaded = true;
    return;
  }
  const auto* failure = std::get_if<ChatFailed>(&reply);
  if (failure != nullptr && failure->id == 0) {
    seat.failure = Error{failure->code, failure->message};
    return;
  }
  const int64_t id = std::visit(
      [](const auto& each) -> int64_t {
        if constexpr (requires { each.id; }) return each.id;
        return 0;
      },
      reply);
  if (!seat.current || seat.current->task.order.id != id) return;
  const bool more = std::holds_alternative<ChatText>(reply);
  seat.current->replies->put(std::move(reply));
  if (more) return;
  seat.current.reset();
  changed_.notify_all();
}

void ServingPool::leave(int64_t id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(waiting_, [id](const Asked& asked) { return asked.task.order.id == id; });
  for (Seat& seat : seats_) {
    if (seat.current && seat.current->task.order.id == id) seat.cancel = true;
  }
  changed_.notify_all();
}

/// Conversations that have not ended: one owner's, or everybody's.
size_t ServingPool::count_of(const std::string* owner) const {
  const auto counts = [&](const Asked& asked) {
    return owner == nullptr || asked.task.owner == *owner;
  };
  const auto answered = std::count_if(seats_.begin(), seats_.end(), [&](const Seat& seat) {
    return seat.current && counts(*seat.current);
  });
  return static_cast<size_t>(answered + std::count_if(waiting_.begin(), waiting_.end(), counts));
}

std::list<ServingPool::Seat>::iterator ServingPool::seat_of(const std::filesystem::path& base) {
  return std::find_if(seats_.begin(), seats_.end(),
                      [&](const Seat& seat) { return seat.base == base; });
}

}  // namespace tunefleet::coordinator
