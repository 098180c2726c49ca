#include "tuners/config/waveft_options.h"

#include "tuners/config/layer_rules.h"
#include "tuners/config/wavelet_filters.h"

namespace tunefleet::tuners {
namespace {

Status validate(const WaveftOptions& options) { return check_layer_rules(options.modules); }

std::vector<TunerOption> option_rows() {
  return with_common_rows<WaveftOptions>(
      {{.key = "n_frequency",
        .help = "How many wavelet coefficients of a layer are trained.",
        .ref = ref_of<&WaveftOptions::n_frequency>,
        .limits = at_least(1)},
       {.key = "scaling", .help = "Factor of the update.", .ref = ref_of<&WaveftOptions::scaling>},
       {.key = "wavelet_family",
        .help = "The wavelet: Daubechies, symlet or coiflet.",
        .ref = ref_of<&WaveftOptions::wavelet_family>,
        .allowed = wavelet_names()},
       {.key = "use_idwt",
        .help = "Transform the coefficients; false: they are entries of the weight themselves.",
        .ref = ref_of<&WaveftOptions::use_idwt>},
       {.key = "random_loc_seed",
        .help = "Chooses which coefficients.",
        .ref = ref_of<&WaveftOptions::random_loc_seed>,
        .limits = at_least(0)},
       {.key = "n_frequency_pattern",
        .help = "Module name -> n_frequency, where it differs.",
        .ref = ref_of<&WaveftOptions::n_frequency_pattern>,
        .limits = at_least(1)},
       {.key = "proportional_parameters",
        .help = "Share the coefficients out over the layers by their sizes.",
        .ref = ref_of<&WaveftOptions::proportional_parameters>},
       {.key = "init_weights",
        .help = "Start at zero; false: near it, at random.",
        .ref = ref_of<&WaveftOptions::init_weights>}},
      true, {"none", "all", "waveft_only"});
}

}  // namespace

const TunerSchema& WaveftOptions::schema() {
  static const TunerSchema schema{.name = "waveft",
                                  .peft_type = "WAVEFT",
                                  .swift_type = {},
                                  .summary = "an update with few wavelet coefficients",
                                  .source = "arXiv:2505.12532",
                                  .can_merge = true,
                                  .options = option_rows(),
                                  .fixed = {{"fan_in_fan_out", "false"}},
                                  .make = &make_options<WaveftOptions>,
                                  .clone = &clone_options<WaveftOptions>,
                                  .check = &checked<WaveftOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
