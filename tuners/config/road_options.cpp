#include "tuners/config/road_options.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> rows() {
  auto rows = with_common_rows<RoadOptions>(
      {{.key = "variant",
        .help = "Angles and lengths: one for a pair of outputs, one for each, or two for each.",
        .ref = ref_of<&RoadOptions::variant>,
        .allowed = {"road_1", "road_2", "road_4"}},
       {.key = "group_size",
        .help = "Outputs are paired within groups of this size, which divides the width.",
        .ref = ref_of<&RoadOptions::group_size>,
        .limits = at_least(2)},
       {.key = "init_weights",
        .help = "Start as the identity; false: at random, for tests.",
        .ref = ref_of<&RoadOptions::init_weights>}},
      false);
  // PEFT's has none.
  std::erase_if(rows, [](const TunerOption& row) { return row.key == "exclude_modules"; });
  return rows;
}

Status validate(const RoadOptions& options) {
  if (options.group_size % 2 == 0) return {};
  return fail(ErrorCode::kInvalidArgument, "road pairs outputs, its group_size must be even: " +
                                               std::to_string(options.group_size));
}

}  // namespace

const TunerSchema& RoadOptions::schema() {
  static const TunerSchema schema{.name = "road",
                                  .peft_type = "ROAD",
                                  .swift_type = {},
                                  .summary = "rotated and scaled pairs of a layer's outputs",
                                  .source = "arXiv:2409.00119",
                                  .can_merge = true,
                                  .options = rows(),
                                  .make = &make_options<RoadOptions>,
                                  .clone = &clone_options<RoadOptions>,
                                  .check = &checked<RoadOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
