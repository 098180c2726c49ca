#pragma once

#include <memory>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/tuner_options.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// One kind of tuner: its options, and how it is put on a model.
struct TunerEntry {
  const TunerSchema* schema = nullptr;
  Result<std::unique_ptr<Adapter>> (*make)(const TunerOptions& options,
                                           const AdapterRequest& request) = nullptr;
};

/// Every tuner there is. A plain list: a static library drops self-registering objects.
const std::vector<TunerEntry>& builtin_tuners();

/// Makes the adapter of these options. Throws std::logic_error for a schema that is not in the
/// list.
Result<std::unique_ptr<Adapter>> make_adapter(const TunerOptions& options,
                                              const AdapterRequest& request);

}  // namespace tunefleet::tuners
