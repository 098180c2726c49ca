#include "tuners/config/oft_options.h"

#include <string>

#include "tuners/config/layer_rules.h"

namespace tunefleet::tuners {
namespace {

Status validate(const OftOptions& options) {
  if ((options.r == 0) == (options.oft_block_size == 0)) {
    return fail(ErrorCode::kInvalidArgument,
                "oft needs exactly one of r and oft_block_size, the other 0: r " +
                    std::to_string(options.r) + ", oft_block_size " +
                    std::to_string(options.oft_block_size));
  }
  return check_layer_rules(options.modules);
}

std::vector<TunerOption> option_rows() {
  return with_common_rows<OftOptions>(
      {{.key = "r",
        .help = "Number of blocks a layer's input is cut into; 0: by oft_block_size.",
        .ref = ref_of<&OftOptions::r>,
        .limits = at_least(0)},
       {.key = "oft_block_size",
        .help = "Width of a block; 0: by r. A number that does not divide the input is adjusted.",
        .ref = ref_of<&OftOptions::oft_block_size>,
        .limits = at_least(0)},
       {.key = "module_dropout",
        .help = "Share of the blocks that are left unrotated in a training step.",
        .ref = ref_of<&OftOptions::module_dropout>,
        .limits = from_to_below(0, 1)},
       {.key = "init_weights",
        .help = "Start without rotation; false: at random, for tests.",
        .ref = ref_of<&OftOptions::init_weights>},
       {.key = "coft",
        .help = "Constrained OFT: keep every rotation within eps.",
        .ref = ref_of<&OftOptions::coft>},
       {.key = "eps",
        .help = "How far coft lets a rotation go.",
        .ref = ref_of<&OftOptions::eps>,
        .limits = above(0)},
       {.key = "block_share",
        .help = "One rotation for all blocks of a layer.",
        .ref = ref_of<&OftOptions::block_share>},
       {.key = "use_cayley_neumann",
        .help = "Rotations by a short series; false: exactly, and then the other way round.",
        .ref = ref_of<&OftOptions::use_cayley_neumann>},
       {.key = "num_cayley_neumann_terms",
        .help = "Terms of that series.",
        .ref = ref_of<&OftOptions::num_cayley_neumann_terms>,
        .limits = at_least(1)}},
      true, {"none", "all", "oft_only"});
}

/// PEFT's adjust_oft_parameters.
int64_t nearest_divisor(int64_t in, int64_t wanted) {
  if (wanted >= in) return in;
  int64_t higher = wanted, lower = wanted;
  while (higher <= in && in % higher != 0) ++higher;
  while (lower > 1 && in % lower != 0) --lower;
  return wanted - lower <= higher - wanted ? lower : higher;
}

}  // namespace

int64_t oft_block_size(const OftOptions& options, int64_t in) {
  if (options.r == 0) return nearest_divisor(in, options.oft_block_size);
  return in / nearest_divisor(in, options.r);
}

const TunerSchema& OftOptions::schema() {
  static const TunerSchema schema{.name = "oft",
                                  .peft_type = "OFT",
                                  .swift_type = {},
                                  .summary = "rotations of blocks of a layer's input",
                                  .source = "arXiv:2306.07280",
                                  .can_merge = true,
                                  .options = option_rows(),
                                  .fixed = {{"fan_in_fan_out", "false"}},
                                  .make = &make_options<OftOptions>,
                                  .clone = &clone_options<OftOptions>,
                                  .check = &checked<OftOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
