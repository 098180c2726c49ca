#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace tunefleet::agent {

/// The processes below `root` in the tree of /proc, children before their own children.
std::vector<pid_t> descendants_of(pid_t root);

/// Of the descendants of this process, those that belong to one gang: in `session`, with
/// "TUNEFLEET_GANG=<tag>" in the environment they were started with, or below such a process. This
/// process adopts orphans (PR_SET_CHILD_SUBREAPER), so a rank's child that went its own way is
/// found too, and no process outside our tree is ever named.
std::vector<pid_t> gang_processes(pid_t session, const std::string& tag);

/// Whether a process of that number exists and is not a zombie.
bool is_running(pid_t pid);

/// Whether that process is `tunefleet-agent exec-on`.
bool is_exec_on(pid_t pid);

/// Environment variable by which a gang's processes are known.
inline constexpr char kGangVariable[] = "TUNEFLEET_GANG";

}  // namespace tunefleet::agent
