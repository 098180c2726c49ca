#include "tuners/config/hra_options.h"

#include "tuners/config/layer_rules.h"

namespace tunefleet::tuners {
namespace {

Status validate(const HraOptions& options) { return check_layer_rules(options.modules); }

}  // namespace

const TunerSchema& HraOptions::schema() {
  static const TunerSchema schema{
      .name = "hra",
      .peft_type = "HRA",
      .swift_type = {},
      .summary = "a chain of reflections of a layer's input",
      .source = "arXiv:2405.17484",
      .can_merge = true,
      .options = with_common_rows<HraOptions>(
          {{.key = "r",
            .help = "Number of reflections; an even number starts as the identity.",
            .ref = ref_of<&HraOptions::r>,
            .limits = at_least(1)},
           {.key = "apply_GS",
            .help = "Make the vectors orthogonal first; then nothing starts as the identity.",
            .ref = ref_of<&HraOptions::apply_GS>},
           {.key = "init_weights",
            .help = "Start with equal pairs of vectors, which cancel; false: all at random.",
            .ref = ref_of<&HraOptions::init_weights>}},
          true, {"none", "all", "hra_only"}),
      .make = &make_options<HraOptions>,
      .clone = &clone_options<HraOptions>,
      .check = &checked<HraOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
