#pragma once

namespace tunefleet::coordinator {

/// `tunefleet submit job.yaml`: checks the job file, uploads its data sets, creates the job, and
/// with --watch follows it.
int run_submit(int argc, char** argv);

}  // namespace tunefleet::coordinator
