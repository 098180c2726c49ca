#include "tuners/config/shira_options.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> rows() {
  auto rows = with_common_rows<ShiraOptions>(
      {{.key = "r",
        .help = "A layer trains r * (in + out) of its weights: as many as LoRA of that rank.",
        .ref = ref_of<&ShiraOptions::r>,
        .limits = at_least(1)},
       {.key = "mask_type",
        .help = "How they are chosen.",
        .ref = ref_of<&ShiraOptions::mask_type>,
        .allowed = {"random"}},
       {.key = "random_seed",
        .help = "Seed of the choice; unset: always the same.",
        .ref = ref_of<&ShiraOptions::random_seed>},
       {.key = "init_weights",
        .help = "Start at zero; false: at random, for tests.",
        .ref = ref_of<&ShiraOptions::init_weights>}},
      false);
  // PEFT's has none.
  std::erase_if(rows, [](const TunerOption& row) { return row.key == "exclude_modules"; });
  return rows;
}

}  // namespace

const TunerSchema& ShiraOptions::schema() {
  static const TunerSchema schema{.name = "shira",
                                  .peft_type = "SHIRA",
                                  .swift_type = {},
                                  .summary = "a few weights of each layer, chosen at random",
                                  .source = "arXiv:2406.13175",
                                  .can_merge = true,
                                  .options = rows(),
                                  .fixed = {{"fan_in_fan_out", "false"}},
                                  .make = &make_options<ShiraOptions>,
                                  .clone = &clone_options<ShiraOptions>};
  return schema;
}

}  // namespace tunefleet::tuners
