#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

/// PEFT's tuners that put learned tokens before every sequence: prompt tuning, p-tuning and prefix
/// tuning. Field names and defaults are those of PEFT's files (0.21).
namespace tunefleet::tuners {

/// What all three say of the tokens and of the model. Unset: as the model has it; the file says it.
struct VirtualTokenOptions {
  int64_t num_virtual_tokens = 0;
  std::optional<int64_t> token_dim{};            ///< Width of a token; of a layer's keys.
  std::optional<int64_t> num_attention_heads{};  ///< Of keys and values with prefix tuning.
  std::optional<int64_t> num_layers{};
  std::optional<int64_t> num_transformer_submodules{};  ///< 1: there is one decoder.

  bool operator==(const VirtualTokenOptions&) const = default;
};

/// The tokens themselves are learned (Lester et al. 2021, arXiv:2104.08691).
struct PromptTuningOptions {
  static const TunerSchema& schema();

  VirtualTokenOptions tokens{};
  /// RANDOM: N(0, 1); SAMPLE_VOCAB: the embeddings of tokens drawn from the vocabulary; TEXT: those
  /// of a text's tokens, cut or repeated to the number of virtual tokens.
  std::string prompt_tuning_init = "RANDOM";
  std::optional<std::string> prompt_tuning_init_text{};
  std::optional<std::string> tokenizer_name_or_path{};
  JsonText tokenizer_kwargs{};
  /// Of TEXT: the text's tokens. In a job they come from the model's tokenizer.
  std::vector<int64_t> prompt_tuning_init_ids{};
  AdapterOrigin origin{};

  bool operator==(const PromptTuningOptions&) const = default;
};

/// A network that is trained along makes the tokens (Liu et al. 2021, arXiv:2103.10385).
struct PTuningOptions {
  static const TunerSchema& schema();

  VirtualTokenOptions tokens{};
  std::string encoder_reparameterization_type = "MLP";  ///< MLP | LSTM
  std::optional<int64_t> encoder_hidden_size{};         ///< Unset: the tokens' width.
  int64_t encoder_num_layers = 2;                       ///< Of the LSTM.
  double encoder_dropout = 0.0;                         ///< Between the LSTM's layers, [0, 1).
  AdapterOrigin origin{};

  bool operator==(const PTuningOptions&) const = default;
};

/// Keys and values of virtual tokens are learned for every layer (Li and Liang 2021,
/// arXiv:2101.00190).
struct PrefixTuningOptions {
  static const TunerSchema& schema();

  VirtualTokenOptions tokens{};
  std::optional<std::string> init_weights{};     ///< "zero"; unset: random.
  std::optional<int64_t> encoder_hidden_size{};  ///< Unset: token_dim.
  bool prefix_projection = false;                ///< A network makes the keys and values.
  AdapterOrigin origin{};

  bool operator==(const PrefixTuningOptions&) const = default;
};

/// kInvalidArgument: TEXT without text or tokens.
Status validate(const PromptTuningOptions& options);

}  // namespace tunefleet::tuners
