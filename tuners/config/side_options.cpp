#include "tuners/config/side_options.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> option_rows() {
  return {{.key = "dim",
           .help = "Width of the output of the module and of its side network.",
           .ref = ref_of<&SideOptions::dim>,
           .required = true},
          {.key = "target_modules",
           .help = "The modules to stand beside, by an expression for whole paths or by names.",
           .ref = ref_of<&SideOptions::target_modules>,
           .required = true},
          {.key = "side_module_name",
           .help = "The side network: four convolutions, two linear layers, or AlexNet.",
           .ref = ref_of<&SideOptions::side_module_name>,
           .allowed = {"fcn4", "mlp", "alexnet"}},
          {.key = "source_hidden_pos",
           .help = "Which argument of the module is the side network's input.",
           .ref = ref_of<&SideOptions::source_hidden_pos>},
          {.key = "target_hidden_pos",
           .help = "Which of the module's outputs is mixed with the side network's.",
           .ref = ref_of<&SideOptions::target_hidden_pos>}};
}

}  // namespace

Status validate(const SideOptions& options) {
  if (options.target_modules.empty())
    return fail(ErrorCode::kInvalidArgument, "side needs target_modules: what to stand beside");
  if (options.dim >= 1) return {};
  return fail(ErrorCode::kInvalidArgument, "side needs dim: the width of the module's output");
}

const TunerSchema& SideOptions::schema() {
  static const TunerSchema schema{
      .name = "side",
      .peft_type = {},
      .swift_type = "SIDE",
      .summary = "side-tuning: a small network beside a module, mixed with its output",
      .source = "arXiv:1912.13503",
      .options = option_rows(),
      .make = &make_options<SideOptions>,
      .clone = &clone_options<SideOptions>,
      .check = &checked<SideOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
