#include "tuners/config/vblora_options.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> own_rows() {
  return {{.key = "r",
           .help = "Rank of the updates.",
           .ref = ref_of<&VbloraOptions::r>,
           .limits = at_least(1)},
          {.key = "num_vectors",
           .help = "Vectors in the bank that all layers share.",
           .ref = ref_of<&VbloraOptions::num_vectors>,
           .limits = at_least(1)},
          {.key = "vector_length",
           .help = "Their length, which divides every width.",
           .ref = ref_of<&VbloraOptions::vector_length>,
           .limits = at_least(1)},
          {.key = "topk",
           .help = "Vectors mixed for one piece of an update.",
           .ref = ref_of<&VbloraOptions::topk>,
           .limits = at_least(1)},
          {.key = "save_only_topk_weights",
           .help = "Store the mixtures alone: much smaller, but not to be trained on.",
           .ref = ref_of<&VbloraOptions::save_only_topk_weights>},
          {.key = "vblora_dropout",
           .help = "Dropout on the update's input.",
           .ref = ref_of<&VbloraOptions::vblora_dropout>,
           .limits = from_to_below(0, 1)},
          {.key = "init_vector_bank_bound",
           .help = "The bank starts uniform within this bound.",
           .ref = ref_of<&VbloraOptions::init_vector_bank_bound>,
           .limits = above(0)},
          {.key = "init_logits_std",
           .help = "The mixtures' logits start normal with this deviation.",
           .ref = ref_of<&VbloraOptions::init_logits_std>,
           .limits = at_least(0)}};
}

Status validate(const VbloraOptions& options) {
  if (options.topk <= options.num_vectors) return {};
  return fail(ErrorCode::kInvalidArgument, "vblora mixes more vectors than there are: topk " +
                                               std::to_string(options.topk) + ", num_vectors " +
                                               std::to_string(options.num_vectors));
}

}  // namespace

const TunerSchema& VbloraOptions::schema() {
  static const TunerSchema schema{
      .name = "vblora",
      .peft_type = "VBLORA",
      .swift_type = {},
      .summary = "low-rank updates mixed from one bank of vectors",
      .source = "arXiv:2405.15179",
      .can_merge = true,
      .options = with_common_rows<VbloraOptions>(own_rows(), true, {"none", "all", "vblora_only"}),
      .fixed = {{"fan_in_fan_out", "false"}},
      .make = &make_options<VbloraOptions>,
      .clone = &clone_options<VbloraOptions>,
      .check = &checked<VbloraOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
