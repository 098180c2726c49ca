#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's PromptConfig: prompt tokens among the input of a network's blocks (visual prompt
/// tuning, Jia et al. 2022, arXiv:2203.12119). Field names and defaults are the file's.
struct PromptOptions {
  static const TunerSchema& schema();

  /// Width of the tokens; one value, or one for each target in module order.
  std::vector<int64_t> dim{};
  /// The blocks, whose paths end with their number: an expression for whole paths, or names.
  ModuleNames target_modules{};
  NumberOrText embedding_pos{"0"};  ///< Which argument the tokens are; a site here has only one.
  std::optional<NumberOrText> attention_mask_pos{};  ///< Set: the attention mask grows too.
  JsonText attention_mask_value{"0.0"};              ///< A number or a bool, for the new columns.
  int64_t prompt_length = 16;
  bool attach_front = true;        ///< Before the tokens; false: behind them.
  bool extract_embedding = false;  ///< Take the prompt out again behind the last target.

  bool operator==(const PromptOptions&) const = default;
};

/// kInvalidArgument, naming the option: nothing to act on, no width, a mask value of another kind.
Status validate(const PromptOptions& options);

/// attention_mask_value as a number: true is 1.
double mask_value(const PromptOptions& options);

}  // namespace tunefleet::tuners
