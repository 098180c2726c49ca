#include "tuners/config/c3a_options.h"

#include "tuners/config/layer_rules.h"

namespace tunefleet::tuners {
namespace {

Status validate(const C3aOptions& options) { return check_layer_rules(options.modules); }

std::vector<TunerOption> option_rows() {
  auto rows = with_common_rows<C3aOptions>(
      {{.key = "block_size",
        .help = "Width of a circulant block; divides inputs and outputs of every target.",
        .ref = ref_of<&C3aOptions::block_size>,
        .limits = at_least(1)},
       {.key = "block_size_pattern",
        .help = "Module name -> block size, where it differs from block_size.",
        .ref = ref_of<&C3aOptions::block_size_pattern>,
        .limits = at_least(1)},
       {.key = "init_weights",
        .help = "How the kernels start; only true starts at zero.",
        .ref = ref_of<&C3aOptions::init_weights>,
        .allowed = {"true", "false", "gaussian", "kaiming_uniform", "xavier_uniform"}}},
      true, {"none", "all", "c3a_only"});
  // The file does not have it; a job may.
  for (auto& row : rows) {
    if (row.key == "exclude_modules") row.in_files = InFiles::kNone;
  }
  return rows;
}

}  // namespace

const TunerSchema& C3aOptions::schema() {
  static const TunerSchema schema{.name = "c3a",
                                  .peft_type = "C3A",
                                  .swift_type = {},
                                  .summary = "an update of circulant blocks: a convolution",
                                  .source = "arXiv:2407.19342",
                                  .can_merge = true,
                                  .options = option_rows(),
                                  .make = &make_options<C3aOptions>,
                                  .clone = &clone_options<C3aOptions>,
                                  .check = &checked<C3aOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
