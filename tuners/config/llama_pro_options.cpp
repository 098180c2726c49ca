#include "tuners/config/llama_pro_options.h"

namespace tunefleet::tuners {

const TunerSchema& LlamaProOptions::schema() {
  static const TunerSchema schema{
      .name = "llamapro",
      .peft_type = {},
      .swift_type = "LLAMAPRO",
      .summary = "copies of layers between the layers, which alone train",
      .source = "arXiv:2401.02415",
      .can_merge = true,
      .options = {{.key = "num_new_blocks",
                   .help = "Divides the number of layers; as many copies unless num_groups is set.",
                   .ref = ref_of<&LlamaProOptions::num_new_blocks>,
                   .limits = at_least(1),
                   .required = true},
                  {.key = "num_groups",
                   .help = "Groups of layers: one copy of its last layer follows each. Unset: "
                           "num_new_blocks.",
                   .ref = ref_of<&LlamaProOptions::num_groups>,
                   .limits = at_least(1)},
                  {.key = "model_type",
                   .help = "ms-swift's name of the architecture, for its files.",
                   .ref = ref_of<&LlamaProOptions::model_type>}},
      .make = &make_options<LlamaProOptions>,
      .clone = &clone_options<LlamaProOptions>};
  return schema;
}

}  // namespace tunefleet::tuners
