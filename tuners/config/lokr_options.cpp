#include "tuners/config/lokr_options.h"

#include <algorithm>

#include "tuners/config/target_match.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> own_rows() {
  return {{.key = "r",
           .help = "Rank of the factors' own factors; a large one leaves them whole.",
           .ref = ref_of<&LokrOptions::r>,
           .limits = at_least(1)},
          {.key = "alpha",
           .help = "The update is scaled by alpha / r.",
           .ref = ref_of<&LokrOptions::alpha>,
           .whole_as_integer = true},
          {.key = "rank_dropout",
           .help = "Chance of an output of the update to be left out in a training step.",
           .ref = ref_of<&LokrOptions::rank_dropout>,
           .limits = from_to_below(0, 1)},
          {.key = "module_dropout",
           .help = "Chance of a layer's update to be left out in a training step.",
           .ref = ref_of<&LokrOptions::module_dropout>,
           .limits = from_to_below(0, 1)},
          {.key = "use_effective_conv2d",
           .help = "Convolutions with kernels above 1x1: a small factor of its own for the kernel.",
           .ref = ref_of<&LokrOptions::use_effective_conv2d>},
          {.key = "decompose_both",
           .help = "The first factor as a product of two, too.",
           .ref = ref_of<&LokrOptions::decompose_both>},
          {.key = "decompose_factor",
           .help = "Size of the first factor; -1: as square as can be.",
           .ref = ref_of<&LokrOptions::decompose_factor>,
           .limits = at_least(-1)},
          {.key = "rank_dropout_scale",
           .help = "With rank_dropout: the outputs that are left grow by the share left out.",
           .ref = ref_of<&LokrOptions::rank_dropout_scale>},
          {.key = "init_weights",
           .help = "How the update starts; only `false` does not start at zero.",
           .ref = ref_of<&LokrOptions::init_weights>,
           .allowed = {"true", "false", "lycoris"}},
          {.key = "rank_pattern",
           .help = "Module name -> rank, where it differs from r.",
           .ref = ref_of<&LokrOptions::rank_pattern>,
           .limits = at_least(1)},
          {.key = "alpha_pattern",
           .help = "Module name -> alpha, where it differs from alpha.",
           .ref = ref_of<&LokrOptions::alpha_pattern>,
           .whole_as_integer = true}};
}

}  // namespace

int64_t rank_of(const LokrOptions& options, std::string_view path) {
  const auto* found = find_pattern(options.rank_pattern, path);
  return found == nullptr ? options.r : *found;
}

double alpha_of(const LokrOptions& options, std::string_view path) {
  const auto* found = find_pattern(options.alpha_pattern, path);
  return found == nullptr ? options.alpha : *found;
}

Factors factorization(int64_t width, int64_t factor) {
  if (factor > 0 && width % factor == 0) return {factor, width / factor};
  const int64_t limit = factor == -1 ? width : factor;
  Factors best{1, width};
  for (int64_t outer = 2; outer <= limit && best.outer < best.inner; ++outer) {
    if (width % outer != 0) continue;
    const Factors next{outer, width / outer};
    if (next.outer + next.inner > best.outer + best.inner) break;
    best = next;
  }
  return {std::min(best.outer, best.inner), std::max(best.outer, best.inner)};
}

const TunerSchema& LokrOptions::schema() {
  static const TunerSchema schema{.name = "lokr",
                                  .peft_type = "LOKR",
                                  .swift_type = {},
                                  .summary = "Kronecker product of two small matrices",
                                  .source = "arXiv:2309.14859",
                                  .can_merge = true,
                                  .options = with_common_rows<LokrOptions>(own_rows()),
                                  .make = &make_options<LokrOptions>,
                                  .clone = &clone_options<LokrOptions>};
  return schema;
}

}  // namespace tunefleet::tuners
