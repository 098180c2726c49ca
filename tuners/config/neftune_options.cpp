#include "tuners/config/neftune_options.h"

namespace tunefleet::tuners {

const TunerSchema& NeftuneOptions::schema() {
  static const TunerSchema schema{
      .name = "neftune",
      .peft_type = {},
      .swift_type = "neftune",
      .summary = "noise on the embeddings in training; goes beside other tuners",
      .source = "arXiv:2310.05914",
      .can_merge = true,
      .options = {{.key = "noise_alpha",
                   .help = "Noise of each number: uniform up to noise_alpha / sqrt(length of the "
                           "sequence * width of the embedding).",
                   .ref = ref_of<&NeftuneOptions::noise_alpha>,
                   .limits = at_least(0)}},
      .make = &make_options<NeftuneOptions>,
      .clone = &clone_options<NeftuneOptions>};
  return schema;
}

}  // namespace tunefleet::tuners
