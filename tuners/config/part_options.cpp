#include "tuners/config/part_options.h"

namespace tunefleet::tuners {

Status validate(const PartOptions& options) {
  if (!options.target_modules.empty()) return {};
  return fail(ErrorCode::kInvalidArgument, "part needs target_modules: the modules to train");
}

const TunerSchema& PartOptions::schema() {
  static const TunerSchema schema{
      .name = "part",
      .peft_type = {},
      .swift_type = "part",
      .summary = "some modules of the model trained in full, as copies",
      .source = "ms-swift",
      .can_merge = true,
      .options = {{.key = "target_modules",
                   .help = "The modules to train: an expression for whole paths, or names.",
                   .ref = ref_of<&PartOptions::target_modules>,
                   .required = true}},
      .make = &make_options<PartOptions>,
      .clone = &clone_options<PartOptions>,
      .check = &checked<PartOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
