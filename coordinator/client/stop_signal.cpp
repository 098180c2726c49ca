#include "coordinator/client/stop_signal.h"

#include <signal.h>

#include <ctime>

namespace tunefleet::coordinator {
namespace {

sigset_t watched() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::sigaddset(&set, number);
  return set;
}

}  // namespace

void block_signals() {
  const sigset_t set = watched();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

int wait_for_signal(std::chrono::milliseconds limit) {
  const sigset_t set = watched();
  const timespec time{.tv_sec = limit.count() / 1000, .tv_nsec = limit.count() % 1000 * 1'000'000};
  const int number = ::sigtimedwait(&set, nullptr, &time);
  return number > 0 ? number : 0;
}

bool is_stop_signal(int signal) {
  return signal == SIGINT || signal == SIGTERM || signal == SIGHUP;
}

}  // namespace tunefleet::coordinator
