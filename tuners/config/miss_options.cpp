#include "tuners/config/miss_options.h"

#include "tuners/config/layer_rules.h"

namespace tunefleet::tuners {
namespace {

template <typename Options>
Status validate(const Options& options) {
  return check_layer_rules(options.modules);
}

std::vector<TunerOption> miss_rows() {
  return with_common_rows<MissOptions>(
      {{.key = "r",
        .help = "Width of the input's blocks, which are summed before the update.",
        .ref = ref_of<&MissOptions::r>,
        .limits = at_least(1)},
       {.key = "miss_dropout",
        .help = "Dropout on the update's input.",
        .ref = ref_of<&MissOptions::miss_dropout>,
        .limits = from_to_below(0, 1)},
       {.key = "mini_r",
        .help = "With init_weights mini: how many columns are trained; they repeat over the "
                "outputs.",
        .ref = ref_of<&MissOptions::mini_r>,
        .limits = at_least(1)},
       {.key = "init_weights",
        .help = "Variant and start: true is the plain one at zero, false the same at random, for "
                "tests; bat mixes the base's own blocks; mini trains few columns.",
        .ref = ref_of<&MissOptions::init_weights>,
        .allowed = {"true", "false", "bat", "mini"}}},
      true, {"none", "all", "MiSS_only", "miss_only"});
}

std::vector<TunerOption> bone_rows() {
  return with_common_rows<BoneOptions>(
      {{.key = "r",
        .help = "Width of the input's blocks, which are summed before the update.",
        .ref = ref_of<&BoneOptions::r>,
        .limits = at_least(1)},
       {.key = "init_weights",
        .help = "Variant and start: true is the plain one at zero, false the same at random, for "
                "tests; bat mixes the base's own blocks.",
        .ref = ref_of<&BoneOptions::init_weights>,
        .allowed = {"true", "false", "bat"}}},
      true, {"none", "all", "Bone_only", "bone_only"});
}

}  // namespace

const TunerSchema& MissOptions::schema() {
  static const TunerSchema schema{
      .name = "miss",
      .peft_type = "MISS",
      .swift_type = {},
      .summary = "one small matrix shared by all blocks of a layer's input",
      .source = "arXiv:2409.15371",
      .can_merge = true,
      .options = miss_rows(),
      .make = &make_options<MissOptions>,
      .clone = &clone_options<MissOptions>,
      .check = &checked<MissOptions, &validate<MissOptions>>};
  return schema;
}

const TunerSchema& BoneOptions::schema() {
  static const TunerSchema schema{.name = "bone",
                                  .peft_type = "BONE",
                                  .swift_type = {},
                                  .summary = "the older name of miss, for files of PEFT up to 0.18",
                                  .source = "arXiv:2409.15371",
                                  .can_merge = true,
                                  .options = bone_rows(),
                                  .make = &make_options<BoneOptions>,
                                  .clone = &clone_options<BoneOptions>,
                                  .check = &checked<BoneOptions, &validate<BoneOptions>>};
  return schema;
}

}  // namespace tunefleet::tuners
