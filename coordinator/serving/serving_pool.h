#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/serving/conversation.h"
#include "coordinator/serving/model_server.h"
#include "coordinator/serving/serving_plan.h"
#include "proto/result.h"
#include "proto/serve_lines.h"

namespace tunefleet::coordinator {

struct ServingOptions {
  /// The program and its words, to which `--model DIR` is added; empty: nothing is served.
  std::vector<std::string> program{};
  std::filesystem::path log{};  ///< Where the servers' stderr goes.
  size_t max_servers = 1;       ///< Base models loaded at the same time.
  size_t max_waiting = 64;      ///< Conversations that wait or are answered, of all owners.
  size_t max_of_owner = 16;     ///< Likewise, of one.
  std::chrono::milliseconds idle{600'000};     ///< A server that answers nobody for so long ends.
  std::chrono::milliseconds stalled{600'000};  ///< One that says nothing for so long is killed.
};

/// A conversation for the pool.
struct ChatTask {
  std::string owner;           ///< Tenant.
  std::filesystem::path base;  ///< Directory of the base model.
  ChatOrder order{};           ///< Its id is the pool's to choose.
};

/// The children that answer conversations: one for each base model, started when somebody asks,
/// ended when nobody does. Each answers one conversation at a time; the others wait in the order of
/// their coming (serving_plan.h). Any thread.
///   ask -> waiting --AdmitWaiting--> answered by a server --ChatEnd, ChatFailed--> gone
/// When a server dies, who it was answering gets kUnavailable; when it had not even loaded its
/// model, all who wait for that model get what was wrong. The next conversation starts a new one.
class ServingPool {
 public:
  explicit ServingPool(ServingOptions options);
  ~ServingPool();

  /// Puts a conversation into the queue. The result must not outlive the pool.
  /// kResourceExhausted: the owner has too many of them. kUnavailable: everybody together has, or
  /// nothing is served here.
  Result<std::shared_ptr<Conversation>> ask(ChatTask task);
  /// All conversations end with kUnavailable, all servers end. Idempotent.
  void stop();
  /// Bases with a server, for people and tests.
  std::vector<std::filesystem::path> loaded() const;

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  struct Asked {
    ChatTask task;
    std::shared_ptr<ReplyBox> replies;
  };
  /// One server's place in the pool.
  struct Seat {
    std::filesystem::path base;
    std::unique_ptr<ModelServer> server;
    std::optional<Asked> current;  ///< Who it answers.
    bool cancel = false;           ///< The current one has left, and the server is not told yet.
    bool loaded = false;           ///< It has said that its model is loaded.
    std::optional<Error> failure;  ///< What it said of itself.
    std::optional<std::string> ended;  ///< How it ended.
    Clock::time_point last{};          ///< When it was last asked or last said something.
  };

  void keep();
  /// Does one thing that is to be done, without the lock where it takes time; false: there is none.
  bool step(Lock& lock);
  bool bury_dead(Lock& lock);
  bool send_cancels(Lock& lock);
  bool retire_idle(Lock& lock);
  bool follow_plan(Lock& lock);
  void start(const std::filesystem::path& base);
  void admit(size_t index, Lock& lock);
  void end(std::list<Seat>::iterator seat, Lock& lock);
  void fail_waiting(const std::filesystem::path& base, const Error& error);

  void on_reply(Seat& seat, ServeReply reply);
  void leave(int64_t id);
  size_t count_of(const std::string* owner) const;
  std::list<Seat>::iterator seat_of(const std::filesystem::path& base);

  const ServingOptions options_;
  mutable std::mutex mutex_;  ///< Guards what follows.
  std::condition_variable changed_;
  int64_t last_id_ = 0;
  std::deque<Asked> waiting_;
  std::list<Seat> seats_;  ///< The one not used for the longest time first. Only keep() removes.
  bool stopping_ = false;
  std::thread keeper_;  // Last: it uses the others.
};

}  // namespace tunefleet::coordinator
