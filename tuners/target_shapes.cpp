#include "tuners/target_shapes.h"

#include <algorithm>

#include "tuners/config/resolve.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {

TargetShape largest_target(const TunerOptions& options, BaseModel& base) {
  TargetShape shape;
  const auto targets = match_targets(selection_of(options), model_modules(base));
  if (!targets) return shape;
  for (const LinearSite* site : base.linear_sites()) {
    if (std::find(targets->begin(), targets->end(), site->path) == targets->end()) continue;
    shape.in = std::max(shape.in, site->in_features());
    shape.out = std::max(shape.out, site->out_features());
    shape.device = site->weight.base.device();
  }
  return shape;
}

}  // namespace tunefleet::tuners
