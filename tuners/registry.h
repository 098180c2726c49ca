#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/adapter_config.h"
#include "tuners/config/tuner_options.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// Options read from a file, and what the reader did not know.
struct ReadTunerOptions {
  TunerOptions options;
  std::vector<std::string> warnings;
};

/// Where and how an adapter is to be made.
struct AdapterRequest {
  BaseModel& base;
  std::string name;
  uint64_t seed = 0;
  bool fresh = true;  ///< False: its values come from a file next.
};

/// One kind of tuner: how files name it, how its configuration is read, how it is put on a model.
struct TunerEntry {
  std::string_view peft_type;   ///< Also the kPeftType of its options.
  std::string_view swift_type;  ///< As ms-swift spells it.
  std::string_view summary;
  Result<ReadTunerOptions> (*read)(std::string_view config_text, const std::string& file_name);
  Result<std::unique_ptr<Adapter>> (*make)(const TunerOptions& options,
                                           const AdapterRequest& request);
};

/// Every tuner there is. A plain list: a static library drops self-registering objects.
const std::vector<TunerEntry>& builtin_tuners();

/// The tuner that a file names, its swift_type first. kInvalidArgument listing the known ones.
Result<const TunerEntry*> find_tuner(const AdapterKind& kind);
/// The tuner whose options these are.
const TunerEntry& tuner_of(const TunerOptions& options);

}  // namespace tunefleet::tuners
