#pragma once

#include <string>
#include <vector>

namespace tunefleet::agent {

/// `tunefleet-agent exec-rank -- CMD…`, started by mpirun once for each rank: runs CMD, watches it,
/// and leaves behind how it ended (run_files.h) in $TUNEFLEET_EXIT_DIR. The rank is
/// $OMPI_COMM_WORLD_RANK, the host $TUNEFLEET_HOST or the machine's name. Ends the way CMD ended:
/// same exit code, same signal.
///
///   - SIGTERM and SIGINT are passed on; what happens then is CMD's business.
///   - When mpirun dies, CMD and everything below it is killed. CMD itself dies with this process
///   (PR_SET_PDEATHSIG).
///   - What CMD leaves running is killed when CMD ends.
///   - CMD that cannot be started: exit/<rank>.error.json says so, exit code 127.
///
/// Does not return when CMD was killed by a signal. Single-threaded; call before any thread exists.
int run_exec_rank(const std::vector<std::string>& command);

}  // namespace tunefleet::agent
