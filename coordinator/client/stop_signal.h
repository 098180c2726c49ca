#pragma once

#include <chrono>

namespace tunefleet::coordinator {

/// Makes SIGINT, SIGTERM, SIGHUP and SIGCHLD wait for wait_for_signal() in this thread and all it
/// starts later. Call before the first thread. SIGPIPE is ignored.
void block_signals();

/// The signal that came within `limit`; 0 when none did.
int wait_for_signal(std::chrono::milliseconds limit);

/// True for the ones that ask us to end.
bool is_stop_signal(int signal);

}  // namespace tunefleet::coordinator
