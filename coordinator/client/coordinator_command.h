#pragma once

namespace tunefleet::coordinator {

/// `tunefleet coordinator`: queue, fleet and API alone, on a Redis that is there; agents come from
/// elsewhere. Runs until SIGTERM or Ctrl-C.
int run_coordinator(int argc, char** argv);

}  // namespace tunefleet::coordinator
