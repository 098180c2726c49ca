#pragma once

namespace tunefleet::trainer {

/// From now on SIGTERM and SIGINT ask the run to stop at the end of its step, with a checkpoint,
/// instead of ending it. A second one ends it at once.
void catch_stop_signals();
bool stop_requested();

}  // namespace tunefleet::trainer
