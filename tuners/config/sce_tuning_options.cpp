#include "tuners/config/sce_tuning_options.h"

#include <fmt/format.h>

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> option_rows() {
  return {{.key = "dims",
           .help = "Channels to tune; a list: one for each target.",
           .ref = ref_of<&SceTuningOptions::dims>,
           .limits = at_least(1),
           .required = true,
           .one_as_scalar = true},
          {.key = "target_modules",
           .help = "Whole paths in order, or an expression for whole paths.",
           .ref = ref_of<&SceTuningOptions::target_modules>,
           .required = true},
          {.key = "tuner_mode",
           .help = "decoder: tunes the last channels of the input; encoder: tunes the output.",
           .ref = ref_of<&SceTuningOptions::tuner_mode>,
           .allowed = {"decoder", "encoder", "identity"}},
          {.key = "tuner_op",
           .help = "The small network.",
           .ref = ref_of<&SceTuningOptions::tuner_op>,
           .allowed = {"SCEAdapter"}},
          {.key = "down_ratio",
           .help = "Width of the small network over dims.",
           .ref = ref_of<&SceTuningOptions::down_ratio>,
           .limits = above(0)}};
}

}  // namespace

Status validate(const SceTuningOptions& options) {
  if (options.target_modules.empty())
    return fail(ErrorCode::kInvalidArgument, "scetuning needs target_modules: what to tune");
  if (options.dims.empty())
    return fail(ErrorCode::kInvalidArgument, "scetuning needs dims: the channels to tune");
  for (const int64_t dim : options.dims) {
    if (tuner_length(options, dim) >= 1) continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("scetuning option down_ratio leaves no width, raise it: dims {} * {}",
                            dim, options.down_ratio));
  }
  return {};
}

int64_t tuner_length(const SceTuningOptions& options, int64_t dim) {
  return static_cast<int64_t>(static_cast<double>(dim) * options.down_ratio);
}

const TunerSchema& SceTuningOptions::schema() {
  // ms-swift takes hint_modules and then fails in the first forward pass: nobody has such a file.
  static const TunerSchema schema{
      .name = "scetuning",
      .peft_type = {},
      .swift_type = "SCETuning",
      .summary = "SCEdit: small networks on the skip connections of a U-Net",
      .source = "arXiv:2312.11392",
      .options = option_rows(),
      .fixed = {{.key = "hint_modules", .json = "null"}},
      .make = &make_options<SceTuningOptions>,
      .clone = &clone_options<SceTuningOptions>,
      .check = &checked<SceTuningOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
