#include "tuners/config/randlora_options.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> own_rows() {
  return {{.key = "r",
           .help = "Rank of each random basis; a smaller one trains more parameters.",
           .ref = ref_of<&RandloraOptions::r>,
           .limits = at_least(1)},
          {.key = "projection_prng_key",
           .help = "Seed of the bases.",
           .ref = ref_of<&RandloraOptions::projection_prng_key>},
          {.key = "save_projection",
           .help = "Store the bases, as PEFT does with every layer; false: they are drawn anew "
                   "from the seed.",
           .ref = ref_of<&RandloraOptions::save_projection>},
          {.key = "sparse",
           .help = "Bases of -1, 0 and 1, two thirds of them 0.",
           .ref = ref_of<&RandloraOptions::sparse>},
          {.key = "very_sparse",
           .help = "Likewise with 1 - 1 / sqrt(width) of them 0.",
           .ref = ref_of<&RandloraOptions::very_sparse>},
          {.key = "randlora_dropout",
           .help = "Dropout on the update's input.",
           .ref = ref_of<&RandloraOptions::randlora_dropout>,
           .limits = from_to_below(0, 1)},
          {.key = "randlora_alpha",
           .help = "The update is scaled by randlora_alpha / r.",
           .ref = ref_of<&RandloraOptions::randlora_alpha>,
           .whole_as_integer = true},
          {.key = "init_weights",
           .help = "Start at zero; false: at random, for tests.",
           .ref = ref_of<&RandloraOptions::init_weights>}};
}

std::vector<TunerOption> rows() {
  auto rows = with_common_rows<RandloraOptions>(own_rows(), true, {"none", "all", "randlora_only"});
  // PEFT's has none.
  std::erase_if(rows, [](const TunerOption& row) { return row.key == "exclude_modules"; });
  return rows;
}

}  // namespace

const TunerSchema& RandloraOptions::schema() {
  static const TunerSchema schema{.name = "randlora",
                                  .peft_type = "RANDLORA",
                                  .swift_type = {},
                                  .summary = "trained sums of fixed random low-rank updates",
                                  .source = "arXiv:2502.00987",
                                  .can_merge = true,
                                  .options = rows(),
                                  .fixed = {{"fan_in_fan_out", "false"}},
                                  .make = &make_options<RandloraOptions>,
                                  .clone = &clone_options<RandloraOptions>};
  return schema;
}

}  // namespace tunefleet::tuners
