#include "tuners/config/layer_rules.h"

namespace tunefleet::tuners {

Status check_layer_rules(const ModuleSelection& modules) {
  const bool layers = !modules.layers_to_transform.empty();
  const bool pattern = !modules.layers_pattern.empty();
  if (modules.target_modules.regex && (layers || pattern)) {
    return fail(ErrorCode::kInvalidArgument,
                "layers_to_transform and layers_pattern need names in target_modules; with a "
                "regular expression, put the layers into it");
  }
  if (pattern && !layers) {
    return fail(ErrorCode::kInvalidArgument, "layers_pattern needs layers_to_transform beside it");
  }
  return {};
}

}  // namespace tunefleet::tuners
