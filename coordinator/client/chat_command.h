#pragma once

namespace tunefleet::coordinator {

/// `tunefleet chat MODEL PROMPT`: lets a model of the service answer, and prints the answer as it
/// comes.
int run_chat(int argc, char** argv);

}  // namespace tunefleet::coordinator
