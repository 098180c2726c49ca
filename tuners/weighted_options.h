#pragma once

#include <cstdint>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/lora_options.h"
#include "tuners/weighted_adapter.h"

namespace tunefleet::tuners {

/// kInvalidArgument, naming the adapter, unless each is LoRA whose update is scaling * B A alone
/// (no DoRA, no PiSSA or OLoRA) and there is one finite weight for each.
Status check_combinable(const std::vector<const Adapter*>& adapters,
                        const std::vector<double>& weights, const Combination& how);

/// Options of the adapters together, of rank and alpha `rank`: their targets, what any of them
/// trains in full, and the first one's tokens or else the next one's. Its targets may name more
/// layers than the adapters have. kInvalidArgument for a list and an expression of targets.
Result<LoraOptions> combined_options(const std::vector<const Adapter*>& adapters, int64_t rank);

}  // namespace tunefleet::tuners
