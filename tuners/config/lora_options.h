#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// The LoRA part of adapter_config.json; field names and defaults are the file's (PEFT 0.21).
struct LoraOptions {
  static const TunerSchema& schema();

  int64_t r = 8;              ///< Rank of the update, >= 1.
  double lora_alpha = 8.0;    ///< Numerator of the scaling alpha / r.
  double lora_dropout = 0.0;  ///< Of the update's input in training, [0, 1).
  TargetModules target_modules{};
  ModuleNames exclude_modules{};
  std::vector<std::string>
      modules_to_save{};  ///< Trained in full; a module path ends with the name.
  std::vector<int64_t> layers_to_transform{};  ///< Only these layers; empty: all. Not with a regex.
  std::vector<std::string> layers_pattern{};   ///< Names of the layer list ("layers"); empty: any.
  Pattern<int64_t> rank_pattern{};             ///< r of single modules.
  Pattern<double> alpha_pattern{};             ///< lora_alpha of single modules.
  std::string bias = "none";                   ///< Which biases train: none | all | lora_only.
  bool use_rslora = false;                     ///< Scaling alpha / sqrt(r).
  bool use_dora = false;                       ///< Trains the length of each weight row apart.
  bool lora_bias = false;                      ///< B has a bias.
  /// true | false | gaussian | orthogonal | pissa | pissa_niter_<number> | olora.
  std::string init_lora_weights = "true";
  /// Rows of embeddings that train: a list (of the input embedding), or module name -> list.
  JsonText trainable_token_indices{};
  std::optional<std::string> lora_dtype{};  ///< float32 | bfloat16 | float16; unset: float32.

  // Said about the adapter, without effect on the maths.
  std::optional<std::string> base_model_name_or_path{};
  std::optional<std::string> revision{};
  std::optional<std::string> task_type = "CAUSAL_LM";
  std::optional<double> lorap_lr_ratio{};  ///< LoRA+: learning rate of B over that of A; unset: 1.
  double lorap_emb_lr = 1e-6;              ///< LoRA+: learning rate of embedding updates.

  bool operator==(const LoraOptions&) const = default;
  /// The members that say where it acts.
  operator ModuleSelection() const;  // NOLINT(google-explicit-constructor)
};

/// Refuses what no layer could use: ranges, unknown words, expressions that do not compile, and
/// combinations PEFT refuses too. kInvalidArgument, naming the field.
Status validate(const LoraOptions& options);

/// The options a job asks for; `validate` has passed. `all-linear` may stand beside other names.
Result<LoraOptions> lora_options_from_job(const JobSpec& spec);

/// Rows of one embedding that train, in the file's order.
struct TrainedTokens {
  std::string module;  ///< Matched as modules_to_save are; empty: the input embedding.
  std::vector<int64_t> rows;
};
/// What trainable_token_indices says. kInvalidArgument for other JSON than its two forms, for
/// numbers below 0 and for one that stands twice.
Result<std::vector<TrainedTokens>> trained_tokens(const LoraOptions& options);

/// How A and B start from the base's weights: then the base is used without what they started from.
struct BaseInit {
  bool qr = false;     ///< OLoRA; otherwise PiSSA.
  int64_t niter = -1;  ///< Iterations of PiSSA's approximate decomposition; -1: the exact one.
};
/// Unset for the initial values that do not look at the base.
std::optional<BaseInit> base_init_of(const std::string& init_lora_weights);

/// r and lora_alpha of the module at `path`, patterns considered.
int64_t rank_of(const LoraOptions& options, std::string_view path);
double alpha_of(const LoraOptions& options, std::string_view path);
/// alpha / r, or alpha / sqrt(r) with use_rslora.
double scaling_of(const LoraOptions& options, std::string_view path);

}  // namespace tunefleet::tuners
