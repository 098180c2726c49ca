#include "tuners/config/trainable_tokens_options.h"

#include <fmt/format.h>

#include <set>
#include <utility>

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> option_rows() {
  std::vector<TunerOption> rows{
      {.key = "token_indices",
       .help = "Ids of the tokens whose embeddings train.",
       .ref = ref_of<&TrainableTokensOptions::token_indices>,
       .limits = at_least(0),
       .required = true},
      {.key = "target_modules",
       .help =
           "The embeddings: names, or an expression for whole paths; unset: the input embedding.",
       .ref = ref_of<&TrainableTokensOptions::target_modules>},
      {.key = "init_weights",
       .help = "Start from the model's own rows; false: from random ones.",
       .ref = ref_of<&TrainableTokensOptions::init_weights>}};
  for (auto& row : origin_rows<TrainableTokensOptions>()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace

Status validate(const TrainableTokensOptions& options) {
  if (options.token_indices.empty())
    return fail(ErrorCode::kInvalidArgument, "trainable_tokens needs token_indices: what to train");
  std::set<int64_t> seen;
  for (const int64_t token : options.token_indices) {
    if (seen.insert(token).second) continue;
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("trainable_tokens option token_indices names a token twice: {}", token));
  }
  return {};
}

const TunerSchema& TrainableTokensOptions::schema() {
  static const TunerSchema schema{.name = "trainable_tokens",
                                  .peft_type = "TRAINABLE_TOKENS",
                                  .swift_type = {},
                                  .summary = "some rows of the embedding trained in full",
                                  .source = "PEFT",
                                  .can_merge = true,
                                  .options = option_rows(),
                                  .make = &make_options<TrainableTokensOptions>,
                                  .clone = &clone_options<TrainableTokensOptions>,
                                  .check = &checked<TrainableTokensOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners
