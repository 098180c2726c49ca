#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/serving/served_process.h"
#include "proto/result.h"
#include "proto/serve_lines.h"

namespace tunefleet::coordinator {

/// A `tunefleet-trainer serve` for one base model. A thread reads what it says.
class ModelServer {
 public:
  /// Both are called on the reading thread. `on_end`: it will say nothing more; how it ended, in
  /// words.
  struct Listener {
    std::function<void(ServeReply)> on_reply;
    std::function<void(std::string how)> on_end;
  };

  /// Starts `program` and its words, with `--model base` behind them.
  static Result<std::unique_ptr<ModelServer>> start(std::vector<std::string> program,
                                                    const std::filesystem::path& base,
                                                    const std::filesystem::path& log,
                                                    Listener listener);
  /// Ends the child: by the end of its stdin, or by force when that takes too long.
  ~ModelServer();

  /// kTimeout, kUnavailable: it does not take orders any more. One thread at a time.
  Status send(const ServeOrder& order);
  /// Ends it at once; on_end follows.
  void kill() { process_->kill(); }

 private:
  ModelServer(std::unique_ptr<ServedProcess> process, Listener listener);
  void read();
  /// Hands on the whole lines of `text`, and leaves what follows the last of them in it.
  void take_lines(std::string& text) const;

  const std::unique_ptr<ServedProcess> process_;
  const Listener listener_;
  std::atomic<bool> ending_{false};
  std::thread reader_;  // Last: it uses the others.
};

}  // namespace tunefleet::coordinator
