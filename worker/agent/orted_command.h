#pragma once

#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::agent {

/// Reads the command line Open MPI 4.1 gives to its plm_rsh_agent, and returns orted's options. No
/// shell ever sees it.
///
/// It is written for a shell: words joined by spaces, values in double quotes:
///    orted -mca ess "env" -mca ess_base_vpid 1 … -mca orte_hnp_uri "123.0;tcp://10.0.0.1:4711"
/// Understood are exactly these: the word orted (a path before it is ignored: a node runs its own),
/// then `-mca NAME VALUE` or `--mca NAME VALUE`. Left out are the parameters that are a node's own
/// (where it keeps files, what it starts others with, how long it waits for its ranks).
/// kPermissionDenied for everything else: other programs, other options, characters a shell would
/// act on outside quotes, or `$`, `` ` ``, `\` in them.
Result<std::vector<std::string>> orted_options(const std::string& command);

}  // namespace tunefleet::agent
