#include "tuners/config/virtual_token_options.h"

namespace tunefleet::tuners {
namespace {

/// The rows of T::tokens and T::origin, after the tuner's own.
template <typename T>
std::vector<TunerOption> with_tokens(std::vector<TunerOption> own) {
  std::vector<TunerOption> rows{
      {.key = "num_virtual_tokens",
       .help = "Learned tokens before every sequence.",
       .ref = [](void* o) -> OptionRef { return &static_cast<T*>(o)->tokens.num_virtual_tokens; },
       .limits = at_least(1),
       .required = true}};
  rows.insert(rows.end(), own.begin(), own.end());
  rows.push_back(
      {.key = "token_dim",
       .help =
           "Width of a token; with prefix tuning of a layer's keys. Unset: as the model has it.",
       .ref = [](void* o) -> OptionRef { return &static_cast<T*>(o)->tokens.token_dim; },
       .limits = at_least(1)});
  rows.push_back(
      {.key = "num_attention_heads",
       .help = "Heads of the model; with prefix tuning of keys. Unset: as the model has it.",
       .ref = [](void* o) -> OptionRef { return &static_cast<T*>(o)->tokens.num_attention_heads; },
       .limits = at_least(1)});
  rows.push_back(
      {.key = "num_layers",
       .help = "Layers of the model. Unset: as the model has it.",
       .ref = [](void* o) -> OptionRef { return &static_cast<T*>(o)->tokens.num_layers; },
       .limits = at_least(1)});
  rows.push_back({.key = "num_transformer_submodules",
                  .help = "Decoders of the model: 1.",
                  .ref = [](void* o) -> OptionRef {
                    return &static_cast<T*>(o)->tokens.num_transformer_submodules;
                  },
                  .limits = between(1, 1)});
  const auto origin = origin_rows<T>();
  rows.insert(rows.end(), origin.begin(), origin.end());
  return rows;
}

std::vector<FixedKey> fixed_rows() { return {{.key = "modules_to_save", .json = "null"}}; }

std::vector<TunerOption> prompt_rows() {
  return with_tokens<PromptTuningOptions>(
      {{.key = "prompt_tuning_init",
        .help = "How the tokens start: RANDOM, as SAMPLE_VOCAB tokens of the vocabulary, or as a "
                "TEXT's.",
        .ref = ref_of<&PromptTuningOptions::prompt_tuning_init>,
        .allowed = {"RANDOM", "SAMPLE_VOCAB", "TEXT"}},
       {.key = "prompt_tuning_init_text",
        .help = "The text of TEXT.",
        .ref = ref_of<&PromptTuningOptions::prompt_tuning_init_text>},
       {.key = "prompt_tuning_init_ids",
        .help = "The text's token ids; in a job they come from the model's tokenizer.",
        .ref = ref_of<&PromptTuningOptions::prompt_tuning_init_ids>,
        .limits = at_least(0),
        .in_files = InFiles::kNone},
       {.key = "tokenizer_name_or_path",
        .help = "The tokenizer of TEXT, for PEFT; unset: the model's.",
        .ref = ref_of<&PromptTuningOptions::tokenizer_name_or_path>},
       {.key = "tokenizer_kwargs",
        .help = "Settings of that tokenizer, for PEFT.",
        .ref = ref_of<&PromptTuningOptions::tokenizer_kwargs>}});
}

std::vector<TunerOption> p_tuning_rows() {
  return with_tokens<PTuningOptions>(
      {{.key = "encoder_reparameterization_type",
        .help = "The network that makes the tokens.",
        .ref = ref_of<&PTuningOptions::encoder_reparameterization_type>,
        .allowed = {"MLP", "LSTM"}},
       {.key = "encoder_hidden_size",
        .help = "Width of the network; unset: the tokens'.",
        .ref = ref_of<&PTuningOptions::encoder_hidden_size>,
        .limits = at_least(1)},
       {.key = "encoder_num_layers",
        .help = "Layers of the LSTM.",
        .ref = ref_of<&PTuningOptions::encoder_num_layers>,
        .limits = at_least(1)},
       {.key = "encoder_dropout",
        .help = "Dropout between the layers of the LSTM.",
        .ref = ref_of<&PTuningOptions::encoder_dropout>,
        .limits = from_to_below(0, 1)}});
}

std::vector<TunerOption> prefix_rows() {
  return with_tokens<PrefixTuningOptions>(
      {{.key = "prefix_projection",
        .help = "A network of two layers makes the keys and values.",
        .ref = ref_of<&PrefixTuningOptions::prefix_projection>},
       {.key = "encoder_hidden_size",
        .help = "Width of that network; unset: token_dim.",
        .ref = ref_of<&PrefixTuningOptions::encoder_hidden_size>,
        .limits = at_least(1)},
       {.key = "init_weights",
        .help = "zero: keys and values start as zeros; unset: at random.",
        .ref = ref_of<&PrefixTuningOptions::init_weights>,
        .allowed = {"zero"}}});
}

}  // namespace

Status validate(const PromptTuningOptions& options) {
  if (options.prompt_tuning_init != "TEXT" || options.prompt_tuning_init_text ||
      !options.prompt_tuning_init_ids.empty()) {
    return {};
  }
  return fail(ErrorCode::kInvalidArgument,
              "prompt_tuning_init TEXT needs prompt_tuning_init_text (in a job) or "
              "prompt_tuning_init_ids, the text's token ids");
}

const TunerSchema& PromptTuningOptions::schema() {
  static const TunerSchema schema{.name = "prompt_tuning",
                                  .peft_type = "PROMPT_TUNING",
                                  .swift_type = {},
                                  .summary = "learned tokens before every sequence",
                                  .source = "arXiv:2104.08691",
                                  .options = prompt_rows(),
                                  .fixed = fixed_rows(),
                                  .make = &make_options<PromptTuningOptions>,
                                  .clone = &clone_options<PromptTuningOptions>,
                                  .check = &checked<PromptTuningOptions, &validate>};
  return schema;
}

const TunerSchema& PTuningOptions::schema() {
  static const TunerSchema schema{.name = "p_tuning",
                                  .peft_type = "P_TUNING",
                                  .swift_type = {},
                                  .summary = "tokens before every sequence that a network makes",
                                  .source = "arXiv:2103.10385",
                                  .options = p_tuning_rows(),
                                  .fixed = fixed_rows(),
                                  .make = &make_options<PTuningOptions>,
                                  .clone = &clone_options<PTuningOptions>};
  return schema;
}

const TunerSchema& PrefixTuningOptions::schema() {
  static const TunerSchema schema{.name = "prefix_tuning",
                                  .peft_type = "PREFIX_TUNING",
                                  .swift_type = {},
                                  .summary = "learned keys and values before every sequence",
                                  .source = "arXiv:2101.00190",
                                  .options = prefix_rows(),
                                  .fixed = fixed_rows(),
                                  .make = &make_options<PrefixTuningOptions>,
                                  .clone = &clone_options<PrefixTuningOptions>};
  return schema;
}

}  // namespace tunefleet::tuners
