#include "tuners/config/boft_options.h"

#include <fmt/format.h>

#include "tuners/config/layer_rules.h"

namespace tunefleet::tuners {
namespace {

Status validate(const BoftOptions& options) {
  if ((options.boft_block_size == 0) == (options.boft_block_num == 0)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("boft needs exactly one of boft_block_size and boft_block_num, the "
                            "other 0: boft_block_size {}, boft_block_num {}",
                            options.boft_block_size, options.boft_block_num));
  }
  return check_layer_rules(options.modules);
}

std::vector<TunerOption> option_rows() {
  return with_common_rows<BoftOptions>(
      {{.key = "boft_block_size",
        .help = "Width of a block, which divides the inputs of every target; 0: by boft_block_num.",
        .ref = ref_of<&BoftOptions::boft_block_size>,
        .limits = at_least(0)},
       {.key = "boft_block_num",
        .help = "Number of blocks a layer's input is cut into; 0: by boft_block_size.",
        .ref = ref_of<&BoftOptions::boft_block_num>,
        .limits = at_least(0)},
       {.key = "boft_n_butterfly_factor",
        .help = "How many rotations follow one another, each on other blocks; PEFT without its "
                "CUDA extension has one only.",
        .ref = ref_of<&BoftOptions::boft_n_butterfly_factor>,
        .limits = between(1, 30)},
       {.key = "boft_dropout",
        .help = "Share of the blocks that are left unrotated in a training step.",
        .ref = ref_of<&BoftOptions::boft_dropout>,
        .limits = from_to_below(0, 1)},
       {.key = "init_weights",
        .help = "Start without rotation; false: at random, for tests.",
        .ref = ref_of<&BoftOptions::init_weights>}},
      true, {"none", "all", "boft_only"});
}

}  // namespace

Result<BoftBlocks> boft_blocks(const BoftOptions& options, int64_t in, std::string_view path) {
  const bool by_size = options.boft_block_size != 0;
  const int64_t given = by_size ? options.boft_block_size : options.boft_block_num;
  if (in % given != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("boft option {} does not divide the layer's inputs: {}, {} has {}",
                            by_size ? "boft_block_size" : "boft_block_num", given, path, in));
  }
  const BoftBlocks blocks = by_size ? BoftBlocks{given, in / given} : BoftBlocks{in / given, given};
  const int64_t span = int64_t{1} << (options.boft_n_butterfly_factor - 1);
  if (span == 1 || (blocks.count % span == 0 && blocks.size % 2 == 0)) return blocks;
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("boft option boft_n_butterfly_factor does not fit: {} factors need an "
                          "even block size and a number of blocks that {} divides; {} has {} "
                          "blocks of {}",
                          options.boft_n_butterfly_factor, span, path, blocks.count, blocks.size));
}

const TunerSchema& BoftOptions::schema() {
  static const TunerSchema schema{.name = "boft",
                                  .peft_type = "BOFT",
                                  .swift_type = {},
                                  .summary = "butterflies of small rotations of a layer's input",
                                  .source = "arXiv:2311.06243",
                                  .can_merge = true,
                                  .options = option_rows(),
                                  .fixed = {{"fan_in_fan_out", "false"}},
                                  .make = &make_options<BoftOptions>,
                                  .clone = &clone_options<BoftOptions>,
                                  .check = &checked<BoftOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
