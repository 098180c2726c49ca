#include <algorithm>
#include <cctype>

#include "tuners/config/lora_options.h"

/// LoRA's adapter_config.json, in PEFT's form (0.21) and in ms-swift's, which has a few keys more.
namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> option_rows() {
  return {
      {.key = "r",
       .help = "Rank of the update.",
       .ref = ref_of<&LoraOptions::r>,
       .limits = at_least(1)},
      {.key = "lora_alpha",
       .help = "The update is scaled by lora_alpha / r.",
       .ref = ref_of<&LoraOptions::lora_alpha>,
       .whole_as_integer = true},
      {.key = "lora_dropout",
       .help = "Dropout on the update's input.",
       .ref = ref_of<&LoraOptions::lora_dropout>,
       .limits = from_to_below(0, 1)},
      {.key = "use_rslora",
       .help = "Scale by lora_alpha / sqrt(r).",
       .ref = ref_of<&LoraOptions::use_rslora>},
      {.key = "use_dora",
       .help = "DoRA: train the length of each weight row apart from its direction.",
       .ref = ref_of<&LoraOptions::use_dora>},
      {.key = "lora_bias",
       .help = "B has a bias that trains.",
       .ref = ref_of<&LoraOptions::lora_bias>},
      {.key = "init_lora_weights",
       .help = "How the update starts; only `false` does not start without effect. pissa, "
               "pissa_niter_<iterations> and olora start from parts of the base's weights.",
       .ref = ref_of<&LoraOptions::init_lora_weights>,
       .allowed = {"true", "false", "gaussian", "orthogonal", "pissa", "pissa_niter_#", "olora"}},
      {.key = "trainable_token_indices",
       .help = "Ids of tokens whose embeddings train: a list, or module name -> list.",
       .ref = ref_of<&LoraOptions::trainable_token_indices>},
      {.key = "rank_pattern",
       .help = "Module name -> rank, where it differs from r.",
       .ref = ref_of<&LoraOptions::rank_pattern>,
       .limits = at_least(1)},
      {.key = "alpha_pattern",
       .help = "Module name -> alpha, where it differs from lora_alpha.",
       .ref = ref_of<&LoraOptions::alpha_pattern>,
       .whole_as_integer = true},
      {.key = "target_modules",
       .help = "Names of the modules to tune, matched at the end of their paths; all-linear: every "
               "linear layer but the head; one text: a regular expression for the whole path.",
       .ref = ref_of<&LoraOptions::target_modules>},
      {.key = "exclude_modules",
       .help = "Names of modules to leave alone.",
       .ref = ref_of<&LoraOptions::exclude_modules>},
      {.key = "modules_to_save",
       .help = "Modules trained and saved in full.",
       .ref = ref_of<&LoraOptions::modules_to_save>},
      {.key = "layers_to_transform",
       .help = "Numbers of the layers to tune; empty: all.",
       .ref = ref_of<&LoraOptions::layers_to_transform>,
       .limits = at_least(0)},
      {.key = "layers_pattern",
       .help = "Names of the list that holds the layers; empty: any.",
       .ref = ref_of<&LoraOptions::layers_pattern>},
      {.key = "bias",
       .help = "Which biases are trained.",
       .ref = ref_of<&LoraOptions::bias>,
       .allowed = {"none", "all", "lora_only"}},
      {.key = "lora_dtype",
       .help = "Number format of the update; unset: float32.",
       .ref = ref_of<&LoraOptions::lora_dtype>,
       .allowed = {"float32", "bfloat16", "float16"},
       .in_files = InFiles::kSwiftOnly},
      {.key = "lorap_lr_ratio",
       .help = "LoRA+: learning rate of B over that of A; unset: 1.",
       .ref = ref_of<&LoraOptions::lorap_lr_ratio>,
       .limits = above(0),
       .in_files = InFiles::kSwiftOnly,
       .whole_as_integer = true},
      {.key = "lorap_emb_lr",
       .help = "LoRA+: learning rate of embedding updates.",
       .ref = ref_of<&LoraOptions::lorap_emb_lr>,
       .limits = at_least(0),
       .in_files = InFiles::kSwiftOnly},
      {.key = "base_model_name_or_path",
       .help = "The base it was made for.",
       .ref = ref_of<&LoraOptions::base_model_name_or_path>},
      {.key = "revision", .help = "Revision of that base.", .ref = ref_of<&LoraOptions::revision>},
      {.key = "task_type",
       .help = "PEFT's word for what the model does.",
       .ref = ref_of<&LoraOptions::task_type>},
  };
}

std::vector<FixedKey> fixed_rows() {
  std::vector<FixedKey> rows{{"ensure_weight_tying", "false"},
                             {"fan_in_fan_out", "false"},
                             {"use_qalora", "false"},
                             {"use_bdlora", "null"},
                             {"alora_invocation_tokens", "null"},
                             {"arrow_config", "null"},
                             {"kasa_config", "null"},
                             {"layer_replication", "null"},
                             {"megatron_config", "null"},
                             {"monteclora_config", "null"},
                             {"target_parameters", "null"},
                             {"velora_config", "null"}};
  for (const std::string_view key : {"corda_config", "eva_config", "lora_ga_config"})
    rows.push_back({.key = key, .json = "null", .ignored = true});
  rows.push_back({.key = "loftq_config", .json = "{}", .ignored = true});
  rows.push_back({.key = "megatron_core", .json = "\"megatron.core\"", .ignored = true});
  rows.push_back({.key = "qalora_group_size", .json = "16", .ignored = true});
  for (const std::string_view key : {"use_qa_lora", "use_merged_linear"})
    rows.push_back({.key = key, .json = "false", .in_files = InFiles::kSwiftOnly});
  rows.push_back({.key = "enable_lora", .json = "null", .in_files = InFiles::kSwiftOnly});
  rows.push_back(
      {.key = "group_size", .json = "null", .ignored = true, .in_files = InFiles::kNone});
  return rows;
}

/// Words of ms-swift 2.x; "auto" means none. PEFT takes "OLoRA" and "Gaussian" too.
void normalise(void* options) {
  auto& dtype = static_cast<LoraOptions*>(options)->lora_dtype;
  auto& init = static_cast<LoraOptions*>(options)->init_lora_weights;
  std::transform(init.begin(), init.end(), init.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (dtype == "fp32") dtype = "float32";
  if (dtype == "fp16") dtype = "float16";
  if (dtype == "bf16") dtype = "bfloat16";
  if (dtype == "AUTO" || dtype == "auto") dtype.reset();
}

}  // namespace

const TunerSchema& LoraOptions::schema() {
  static const TunerSchema schema{
      .name = "lora",
      .peft_type = "LORA",
      .swift_type = "LORA",
      .summary = "low-rank updates of linear layers, embeddings and convolutions",
      .source = "arXiv:2106.09685",
      .can_merge = true,
      .options = option_rows(),
      .fixed = fixed_rows(),
      .make = &make_options<LoraOptions>,
      .clone = &clone_options<LoraOptions>,
      .check = &checked<LoraOptions, &validate>,
      .normalise = &normalise,
      .rank_key = "r"};
  return schema;
}

}  // namespace tunefleet::tuners
