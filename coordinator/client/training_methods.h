#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tunefleet::coordinator {

/// A way of training that is no adapter, or needs none: keys of the job file turn it on.
struct TrainingMethod {
  std::string_view name;                  ///< In `tunefleet tuners NAME`: "galore".
  std::vector<std::string_view> aliases;  ///< Other spellings of it.
  std::string_view summary;               ///< One line.
  std::string_view source;                ///< "arXiv:2403.03507"; empty when there is none.
  std::string_view settings;              ///< What turns it on, as a YAML map: "use_galore: true".
  std::vector<std::string_view> keys;     ///< Keys of the job file that belong to it.
};

/// Full tuning, LISA, GaLore, Q-GaLore, LoRA+, Liger, UnSloth and NEFTune.
const std::vector<TrainingMethod>& training_methods();
/// By name or another spelling; null when there is none.
const TrainingMethod* find_training_method(std::string_view name);

/// Every method on a line, and one with its job keys, in lines of at most `width` characters.
std::string training_methods_table(size_t width);
std::string training_method_page(const TrainingMethod& method, size_t width);
/// The table of a method's job keys alone.
std::string job_keys_table(const TrainingMethod& method, size_t width);
/// What --json prints of a method: as of a tuner (tuner_commands.h), with `settings`, and its job
/// keys as options.
nlohmann::json training_method_json(const TrainingMethod& method);

}  // namespace tunefleet::coordinator
