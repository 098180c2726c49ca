#include "tuners/config/vera_options.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> rows() {
  auto rows = with_common_rows<VeraOptions>(
      {{.key = "r",
        .help = "Rank of the two fixed random matrices that all layers share.",
        .ref = ref_of<&VeraOptions::r>,
        .limits = at_least(1)},
       {.key = "projection_prng_key",
        .help = "Seed of these matrices.",
        .ref = ref_of<&VeraOptions::projection_prng_key>},
       {.key = "save_projection",
        .help = "Store them; false: they are drawn anew from the seed.",
        .ref = ref_of<&VeraOptions::save_projection>},
       {.key = "vera_dropout",
        .help = "Dropout on the update's input.",
        .ref = ref_of<&VeraOptions::vera_dropout>,
        .limits = from_to_below(0, 1)},
       {.key = "d_initial",
        .help = "Where the inner scales start.",
        .ref = ref_of<&VeraOptions::d_initial>},
       {.key = "init_weights",
        .help = "Start at zero; false: at random, for tests.",
        .ref = ref_of<&VeraOptions::init_weights>}},
      true, {"none", "all", "vera_only"});
  // PEFT's has none.
  std::erase_if(rows, [](const TunerOption& row) { return row.key == "exclude_modules"; });
  return rows;
}

}  // namespace

const TunerSchema& VeraOptions::schema() {
  static const TunerSchema schema{.name = "vera",
                                  .peft_type = "VERA",
                                  .swift_type = {},
                                  .summary = "trained scales of fixed random low-rank updates",
                                  .source = "arXiv:2310.11454",
                                  .can_merge = true,
                                  .options = rows(),
                                  .fixed = {{"fan_in_fan_out", "false"}},
                                  .make = &make_options<VeraOptions>,
                                  .clone = &clone_options<VeraOptions>};
  return schema;
}

}  // namespace tunefleet::tuners
