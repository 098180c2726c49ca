#include "coordinator/client/command.h"
#include "coordinator/client/sibling_command.h"

namespace tunefleet::coordinator {

const std::vector<Command>& commands() {
  static const std::vector<Command> table{
      {"agent", "Offer this machine's slots to a coordinator", &run_agent},
      {"generate", "Let a model or a tuned adapter answer a prompt", &run_generate},
  };
  return table;
}

}  // namespace tunefleet::coordinator
