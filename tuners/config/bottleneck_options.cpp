#include "tuners/config/bottleneck_options.h"

#include "tuners/config/activation_names.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> option_rows() {
  return {{.key = "dim",
           .help = "Width of the modules' output; unset: as the model has it.",
           .ref = ref_of<&BottleneckOptions::dim>,
           .limits = at_least(1)},
          {.key = "target_modules",
           .help = "The modules, by names at the end of their paths or one expression for whole "
                   "paths.",
           .ref = ref_of<&BottleneckOptions::target_modules>},
          {.key = "adapter_length",
           .help = "Width of the bottleneck.",
           .ref = ref_of<&BottleneckOptions::adapter_length>,
           .limits = at_least(1)},
          {.key = "act_layer",
           .help = "What stands between the two layers.",
           .ref = ref_of<&BottleneckOptions::act_layer>,
           .allowed = activation_names()},
          {.key = "hidden_pos",
           .help = "Which output of the module is the hidden state, for ms-swift.",
           .ref = ref_of<&BottleneckOptions::hidden_pos>},
          {.key = "method_name",
           .help = "Which method of the module is meant, for ms-swift.",
           .ref = ref_of<&BottleneckOptions::method_name>}};
}

}  // namespace

Status validate(const BottleneckOptions& options) {
  if (!options.target_modules.empty()) return {};
  return fail(ErrorCode::kInvalidArgument, "adapter needs target_modules: the modules to act on");
}

const TunerSchema& BottleneckOptions::schema() {
  static const TunerSchema schema{.name = "adapter",
                                  .peft_type = {},
                                  .swift_type = "ADAPTER",
                                  .summary = "a bottleneck of two layers behind modules",
                                  .source = "arXiv:1902.00751",
                                  .options = option_rows(),
                                  .make = &make_options<BottleneckOptions>,
                                  .clone = &clone_options<BottleneckOptions>,
                                  .check = &checked<BottleneckOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
