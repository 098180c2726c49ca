#pragma once

#include <string>
#include <vector>

namespace tunefleet::agent {

/// `tunefleet-agent exec-on NODE COMMAND…`, which a lead's mpirun starts as its plm_rsh_agent: has
/// the agent of that node run orted as its part of the gang, and stays as long as that runs. What
/// gang that is, and where the coordinator is that passes the request on, stands in the environment
/// (gang_environment()). On the lead's own node orted takes this process' place.
///
///   asking --answer--> running --ended--> exit with orted's code
///      |                  |
///      +--refused, or 15 s without an answer--> exit 1
///
///   - A running part is not given up because the coordinator is away: it hangs on mpirun's own
///     connection to orted.
///   - SIGTERM: the part's ranks are sent SIGTERM. SIGHUP, or the death of mpirun: the part is
///     killed; ends once the agent has confirmed it, 2 s later at most.
///   - What went wrong is written to <host>.part.json in $TUNEFLEET_EXIT_DIR, where the lead's
///   agent
///     reads it, and so is the wish of an agent that is being stopped.
///
/// Single-threaded but for ZeroMQ's; call before any thread exists.
int run_exec_on(const std::vector<std::string>& node_and_command);

}  // namespace tunefleet::agent
