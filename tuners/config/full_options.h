#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// Full tuning: which parameters of the base train, by ms-swift's keys, and LISA's schedule. A path
/// trains unless something freezes it; what trainable_parameters name trains in any case.
struct FullOptions {
  std::vector<std::string> freeze_parameters{};          ///< Beginnings of paths.
  std::optional<std::string> freeze_parameters_regex{};  ///< Found anywhere in the path.
  double freeze_parameters_ratio = 0.0;  ///< Of all numbers, in the order of the model.
  std::vector<std::string> trainable_parameters{};
  std::optional<std::string> trainable_parameters_regex{};
  int64_t lisa_activated_layers = 0;  ///< Layers that train at a time; 0: all.
  int64_t lisa_step_interval = 20;    ///< Steps between two draws.
  /// Texts, one of which the path of a linear layer contains whose weight is kept in 8 bits; with
  /// "all-linear", every one but the head. Empty: none.
  std::vector<std::string> int8_modules{};

  bool operator==(const FullOptions&) const = default;
  /// No files are written of it: what full tuning saves is a model.
  static const TunerSchema& schema();
};

/// The options a job with tuner_type full asks for.
FullOptions full_options_from_job(const JobSpec& spec);

/// Which of `paths` train, in their order; `sizes` are the parameters' numbers. kInvalidArgument
/// for an expression that does not compile, for a text in either list that no path begins with
/// (naming the nearest), and when nothing is left.
Result<std::vector<bool>> trained_parameters(const FullOptions& options,
                                             const std::vector<std::string>& paths,
                                             const std::vector<int64_t>& sizes);

/// Whether `module` is a target of GaLore: it contains one of `targets`. With none, every linear
/// layer but the head.
bool is_galore_target(const std::vector<std::string>& targets, const std::string& module);

/// The layers that LISA's draw number `draw` picks: `active` different ones of `layers`, ascending,
/// every set as likely as any other. The same on every rank. Source: Pan et al. 2024,
/// arXiv:2403.17919, algorithm 1.
std::vector<int64_t> lisa_layers(uint64_t seed, int64_t draw, int64_t layers, int64_t active);

}  // namespace tunefleet::tuners
