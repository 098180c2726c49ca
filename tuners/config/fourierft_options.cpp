#include "tuners/config/fourierft_options.h"

#include "tuners/config/layer_rules.h"

namespace tunefleet::tuners {
namespace {

Status validate(const FourierftOptions& options) { return check_layer_rules(options.modules); }

std::vector<TunerOption> option_rows() {
  return with_common_rows<FourierftOptions>(
      {{.key = "n_frequency",
        .help = "How many entries of a layer's spectrum are trained.",
        .ref = ref_of<&FourierftOptions::n_frequency>,
        .limits = at_least(1)},
       {.key = "scaling",
        .help = "Factor of the update.",
        .ref = ref_of<&FourierftOptions::scaling>},
       {.key = "random_loc_seed",
        .help = "Chooses which entries.",
        .ref = ref_of<&FourierftOptions::random_loc_seed>,
        .limits = at_least(0)},
       {.key = "n_frequency_pattern",
        .help = "Module name -> n_frequency, where it differs.",
        .ref = ref_of<&FourierftOptions::n_frequency_pattern>,
        .limits = at_least(1)},
       {.key = "init_weights",
        .help = "Start at zero; false: at random, which changes the model at once.",
        .ref = ref_of<&FourierftOptions::init_weights>}},
      true, {"none", "all", "fourier_only"});
}

}  // namespace

const TunerSchema& FourierftOptions::schema() {
  static const TunerSchema schema{.name = "fourierft",
                                  .peft_type = "FOURIERFT",
                                  .swift_type = {},
                                  .summary = "an update with few entries in its spectrum",
                                  .source = "arXiv:2405.03003",
                                  .can_merge = true,
                                  .options = option_rows(),
                                  .fixed = {{"fan_in_fan_out", "false"}},
                                  .make = &make_options<FourierftOptions>,
                                  .clone = &clone_options<FourierftOptions>,
                                  .check = &checked<FourierftOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
