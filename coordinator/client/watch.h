#pragma once

#include <string>

#include "coordinator/client/api_client.h"
#include "coordinator/client/watch_view.h"

namespace tunefleet::coordinator {

/// Shows a job until it is final, then what came out of it. Ctrl-C ends the watching, not the job,
/// and says so. Returns the process's exit code: kExitOk, kExitFailed, kExitCancelled,
/// kExitInterrupted, or kExitUnavailable when the service has not answered for two minutes.
int watch_job(ApiClient& client, const std::string& job, WatchView& view);

/// The view for this process's stdout: JSON when `json`, otherwise by whether it is a terminal.
std::unique_ptr<WatchView> make_view_of_stdout(bool json);

}  // namespace tunefleet::coordinator
