#include "tuners/config/hira_options.h"

#include "tuners/config/target_match.h"

namespace tunefleet::tuners {

int64_t rank_of(const HiraOptions& options, std::string_view path) {
  const auto* found = find_pattern(options.rank_pattern, path);
  return found == nullptr ? options.r : *found;
}

const TunerSchema& HiraOptions::schema() {
  static const TunerSchema schema{
      .name = "hira",
      .peft_type = "HIRA",
      .swift_type = {},
      .summary = "low-rank factors of every weight",
      .source = "Huang et al. 2025, ICLR, HiRA",
      .can_merge = true,
      .options = with_common_rows<HiraOptions>(
          {{.key = "r",
            .help = "Rank of the matrix of factors.",
            .ref = ref_of<&HiraOptions::r>,
            .limits = at_least(1)},
           {.key = "hira_dropout",
            .help = "Dropout on the update's input.",
            .ref = ref_of<&HiraOptions::hira_dropout>,
            .limits = from_to_below(0, 1)},
           {.key = "init_weights",
            .help = "How the update starts; only `false` does not start at zero.",
            .ref = ref_of<&HiraOptions::init_weights>,
            .allowed = {"true", "false", "gaussian"}},
           {.key = "rank_pattern",
            .help = "Module name -> rank, where it differs from r.",
            .ref = ref_of<&HiraOptions::rank_pattern>,
            .limits = at_least(1)}}),
      .fixed = {{"fan_in_fan_out", "false"}},
      .make = &make_options<HiraOptions>,
      .clone = &clone_options<HiraOptions>,
      .rank_key = "r"};
  return schema;
}

}  // namespace tunefleet::tuners
