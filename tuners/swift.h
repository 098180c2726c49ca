#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "proto/result.h"
#include "tuners/config/tuner_options.h"
#include "tuners/sites.h"
#include "tuners/swift_model.h"

namespace tunefleet::tuners {

/// The class of the document "Using Tuners": puts tuners on models, loads them, merges them,
/// converts their files. Stateless.
class Swift {
 public:
  /// Which stored adapters to load: all of them, one, several, or stored name -> name on the model.
  using AdapterNames = std::variant<std::monostate, std::string, std::vector<std::string>,
                                    std::map<std::string, std::string>>;

  /// Puts one tuner, called "default", or several named ones on a model. The result refers to
  /// `base`.
  static Result<std::unique_ptr<SwiftModel>> prepare_model(BaseModel& base,
                                                           const TunerOptions& options,
                                                           uint64_t seed = 42);
  static Result<std::unique_ptr<SwiftModel>> prepare_model(
      BaseModel& base, const std::map<std::string, TunerOptions>& options, uint64_t seed = 42);
  /// Adds more to a model that has tuners already: one called "default", which must be free, or
  /// several named ones, as if all had been named at once. On an error those added before stay.
  static Status prepare_model(SwiftModel& model, const TunerOptions& options);
  static Status prepare_model(SwiftModel& model,
                              const std::map<std::string, TunerOptions>& options);

  /// Puts stored adapters on a model, from ms-swift's or PEFT's files. `trainable` false: for
  /// inference only. On an error nothing has been added. Errors: list_adapters, load_weights
  /// (adapter_files.h), SwiftModel::add_adapter; kNotFound for a name that is not stored there,
  /// listing those that are.
  /// `revision`, when not empty, names a sub-directory of `directory`: one of several states kept
  /// there (a checkpoint, a branch).
  static Status from_pretrained(SwiftModel& model, const std::filesystem::path& directory,
                                const AdapterNames& names = {}, bool trainable = true,
                                const std::string& revision = "");
  static Result<std::unique_ptr<SwiftModel>> from_pretrained(BaseModel& base,
                                                             const std::filesystem::path& directory,
                                                             const AdapterNames& names = {},
                                                             bool trainable = true,
                                                             const std::string& revision = "");

  static Status merge(SwiftModel& model) { return model.merge(); }
  static Status unmerge(SwiftModel& model) { return model.unmerge(); }
  static Status merge_and_unload(SwiftModel& model) { return model.merge_and_unload(); }

  /// Rewrites a checkpoint of LoRA adapters in PEFT's layout: "default" moves into the root of
  /// `output_dir`, keys lose the adapter's name and gain `base_model.model.`. Needs no model.
  /// `output_dir` may be `ckpt_dir`; converting what is PEFT's already changes nothing. Refused,
  /// before anything is written: other tuners, settings PEFT's configuration has no place for
  /// (lora_dtype; delete the field to convert anyway) and checkpoints with extra_states.
  static Status save_to_peft_format(const std::filesystem::path& ckpt_dir,
                                    const std::filesystem::path& output_dir);
};

}  // namespace tunefleet::tuners
