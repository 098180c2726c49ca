#include "tuners/config/loha_options.h"

#include "tuners/config/target_match.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> own_rows() {
  return {{.key = "r",
           .help = "Rank of both factors; the update's rank is up to r * r.",
           .ref = ref_of<&LohaOptions::r>,
           .limits = at_least(1)},
          {.key = "alpha",
           .help = "The update is scaled by alpha / r.",
           .ref = ref_of<&LohaOptions::alpha>,
           .whole_as_integer = true},
          {.key = "rank_dropout",
           .help = "Chance of an output of the update to be left out in a training step.",
           .ref = ref_of<&LohaOptions::rank_dropout>,
           .limits = from_to_below(0, 1)},
          {.key = "module_dropout",
           .help = "Chance of a layer's update to be left out in a training step.",
           .ref = ref_of<&LohaOptions::module_dropout>,
           .limits = from_to_below(0, 1)},
          {.key = "use_effective_conv2d",
           .help = "Convolutions with kernels above 1x1: a small factor of its own for the kernel.",
           .ref = ref_of<&LohaOptions::use_effective_conv2d>},
          {.key = "init_weights",
           .help = "Start at zero; false: at random, for tests.",
           .ref = ref_of<&LohaOptions::init_weights>},
          {.key = "rank_pattern",
           .help = "Module name -> rank, where it differs from r.",
           .ref = ref_of<&LohaOptions::rank_pattern>,
           .limits = at_least(1)},
          {.key = "alpha_pattern",
           .help = "Module name -> alpha, where it differs from alpha.",
           .ref = ref_of<&LohaOptions::alpha_pattern>,
           .whole_as_integer = true}};
}

}  // namespace

int64_t rank_of(const LohaOptions& options, std::string_view path) {
  const auto* found = find_pattern(options.rank_pattern, path);
  return found == nullptr ? options.r : *found;
}

double alpha_of(const LohaOptions& options, std::string_view path) {
  const auto* found = find_pattern(options.alpha_pattern, path);
  return found == nullptr ? options.alpha : *found;
}

const TunerSchema& LohaOptions::schema() {
  static const TunerSchema schema{.name = "loha",
                                  .peft_type = "LOHA",
                                  .swift_type = {},
                                  .summary = "elementwise product of two low-rank updates",
                                  .source = "arXiv:2108.06098",
                                  .can_merge = true,
                                  .options = with_common_rows<LohaOptions>(own_rows()),
                                  .make = &make_options<LohaOptions>,
                                  .clone = &clone_options<LohaOptions>,
                                  .rank_key = "r"};
  return schema;
}

}  // namespace tunefleet::tuners
