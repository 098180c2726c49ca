#include "tuners/config/res_tuning_options.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tuners/config/bypass_plan.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> where_rows() {
  return {{.key = "root_modules",
           .help = "Where the bypass starts: an expression for whole paths, of which the first "
                   "match counts, or a name. None: the first stem's input.",
           .ref = ref_of<&ResTuningOptions::root_modules>},
          {.key = "root_modules_hook",
           .help = "Whether it takes what goes into the root or what comes out.",
           .ref = ref_of<&ResTuningOptions::root_modules_hook>,
           .allowed = {"input", "output"}},
          {.key = "stem_modules",
           .help = "The modules that feed the bypass, one block each: an expression for whole "
                   "paths, or whole paths in the bypass's order.",
           .ref = ref_of<&ResTuningOptions::stem_modules>,
           .required = true},
          {.key = "stem_modules_hook",
           .help = "Whether a block takes what goes into its stem or what comes out.",
           .ref = ref_of<&ResTuningOptions::stem_modules_hook>,
           .allowed = {"input", "output"}},
          {.key = "target_modules",
           .help = "Where the bypass's result is used: an expression for whole paths, or names.",
           .ref = ref_of<&ResTuningOptions::target_modules>,
           .required = true},
          {.key = "target_modules_hook",
           .help = "Whether it takes the place of the target's input or of its output.",
           .ref = ref_of<&ResTuningOptions::target_modules_hook>,
           .allowed = {"input", "output"}},
          {.key = "target_hidden_pos",
           .help = "Which argument or output of the target that is.",
           .ref = ref_of<&ResTuningOptions::target_hidden_pos>}};
}

std::vector<TunerOption> option_rows() {
  std::vector<TunerOption> rows{{.key = "dims",
                                 .help = "Width of the bypass; a list: of each block.",
                                 .ref = ref_of<&ResTuningOptions::dims>,
                                 .limits = at_least(1),
                                 .required = true,
                                 .one_as_scalar = true},
                                {.key = "tuner_cfg",
                                 .help = "What the blocks are made of: res_adapter, "
                                         "res_group_adapter, or an object; a list: of each block.",
                                 .ref = ref_of<&ResTuningOptions::tuner_cfg>,
                                 .required = true}};
  const auto where = where_rows();
  rows.insert(rows.end(), where.begin(), where.end());
  rows.push_back({.key = "use_upsample",
                  .help = "Fit each block's result to the size of the next stem.",
                  .ref = ref_of<&ResTuningOptions::use_upsample>});
  rows.push_back({.key = "upsample_out_channels",
                  .help = "Channels after that, by a convolution; a list: of each block.",
                  .ref = ref_of<&ResTuningOptions::upsample_out_channels>});
  rows.push_back({.key = "zero_init_last",
                  .help = "Start the last block's adapters at zero.",
                  .ref = ref_of<&ResTuningOptions::zero_init_last>});
  rows.push_back({.key = "use_bypass",
                  .help = "Has no effect.",
                  .ref = ref_of<&ResTuningOptions::use_bypass>});
  return rows;
}

/// The blocks that the options speak of, before a model says how many stems there are.
int64_t least_depth(const ResTuningOptions& options) {
  const auto config = nlohmann::json::parse(options.tuner_cfg.text, nullptr, false);
  const size_t blocks = config.is_array() ? config.size() : 1;
  return static_cast<int64_t>(std::max(blocks, options.stem_modules.names.size()));
}

}  // namespace

Status validate(const ResTuningOptions& options) {
  if (options.stem_modules.empty())
    return fail(ErrorCode::kInvalidArgument, "restuning needs stem_modules: what feeds the bypass");
  if (options.target_modules.empty())
    return fail(ErrorCode::kInvalidArgument, "restuning needs target_modules: where it ends");
  if (options.dims.empty())
    return fail(ErrorCode::kInvalidArgument, "restuning needs dims: the width of the bypass");
  const auto plan = plan_bypass(options, std::max<int64_t>(1, least_depth(options)));
  return plan ? Status{} : fail(plan.error());
}

const TunerSchema& ResTuningOptions::schema() {
  static const TunerSchema schema{.name = "restuning",
                                  .peft_type = {},
                                  .swift_type = "RESTUNING",
                                  .summary = "Res-Tuning: a trained bypass beside a frozen network",
                                  .source = "arXiv:2310.19859",
                                  .options = option_rows(),
                                  .make = &make_options<ResTuningOptions>,
                                  .clone = &clone_options<ResTuningOptions>,
                                  .check = &checked<ResTuningOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
