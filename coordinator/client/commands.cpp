#include "coordinator/client/adapter_commands.h"
#include "coordinator/client/chat_command.h"
#include "coordinator/client/command.h"
#include "coordinator/client/coordinator_command.h"
#include "coordinator/client/job_commands.h"
#include "coordinator/client/key_commands.h"
#include "coordinator/client/model_commands.h"
#include "coordinator/client/plan_command.h"
#include "coordinator/client/sibling_command.h"
#include "coordinator/client/submit_command.h"
#include "coordinator/client/sweep_command.h"
#include "coordinator/client/tuner_commands.h"
#include "coordinator/client/up_command.h"

namespace tunefleet::coordinator {

const std::vector<Command>& commands() {
  static const std::vector<Command> table{
      {"up", "Start the whole service on this machine", &run_up},
      {"down", "Stop the service of a data directory", &run_down},
      {"submit", "Submit a fine-tuning job", &run_submit},
      {"plan", "Tell what a job would take, without submitting it", &run_plan},
      {"sweep", "Submit jobs that differ in some values, or tell about them", &run_sweep},
      {"jobs", "List your jobs", &run_jobs},
      {"watch", "Follow a job until it ends", &run_watch},
      {"logs", "Print what a job's ranks have written", &run_logs},
      {"cancel", "Stop a job", &run_cancel},
      {"pause", "Stop a job until it is resumed", &run_pause},
      {"resume", "Let a paused job go on", &run_resume},
      {"models", "List models, or import one from a GGUF file", &run_models},
      {"chat", "Let a model of the service answer a prompt", &run_chat},
      {"tuners", "List the tuners a job can train, and their options", &run_tuners},
      {"adapters", "Look at adapters on disk, and combine them", &run_adapters},
      {"merge", "Write a model with adapters merged into its weights", &run_merge},
      {"export", "Write LoRA adapters in PEFT's layout", &run_export},
      {"keys", "List, make and revoke API keys", &run_keys},
      {"fleet", "List the machines that run jobs", &run_fleet},
      {"coordinator", "Run queue, fleet and API alone", &run_coordinator},
      {"agent", "Offer this machine's slots to a coordinator", &run_agent},
      {"generate", "Let a model or a tuned adapter answer a prompt", &run_generate},
  };
  return table;
}

}  // namespace tunefleet::coordinator
