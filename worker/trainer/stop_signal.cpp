#include "worker/trainer/stop_signal.h"

#include <csignal>

namespace tunefleet::trainer {
namespace {

volatile std::sig_atomic_t requested = 0;

void on_signal(int number) {
  requested = 1;
  std::signal(number, SIG_DFL);
}

}  // namespace

void catch_stop_signals() {
  std::signal(SIGTERM, on_signal);
  std::signal(SIGINT, on_signal);
}

bool stop_requested() { return requested != 0; }

}  // namespace tunefleet::trainer
