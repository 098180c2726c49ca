#pragma once

namespace tunefleet::coordinator {

/// `tunefleet up`: the whole service on this machine, in the foreground or (--detach) in the
/// background.
int run_up(int argc, char** argv);
/// `tunefleet down`: stops the service of a data directory and waits until it has gone.
int run_down(int argc, char** argv);

}  // namespace tunefleet::coordinator
