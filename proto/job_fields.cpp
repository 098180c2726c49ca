#include "proto/job_fields.h"

#include <initializer_list>

namespace tunefleet {
namespace {

using Fields = std::initializer_list<JobField>;

constexpr std::string_view kTuners = "Tuners";
constexpr std::string_view kSingle = "Single tuners";

// The rows of a step and the steps of a run are products of these: they stay within 64 bits.
constexpr double kMostRows = 1'000'000;
constexpr double kMostEpochs = 1'000'000;

const Fields kModelFields{
    {"model", "Model", &JobSpec::model,
     "A name under the models directory, or a path: a Hugging Face directory or a .gguf file. "
     "Required."},
    {"template",
     "Model",
     &JobSpec::template_,
     "Chat template; unset: the model's own.",
     {},
     {"chatml", "llama3", "qwen", "plain"}},
    {"system", "Model", &JobSpec::system, "System prompt for rows that have none."},
    {"tuner_type", "Model", &JobSpec::tuner_type,
     "What is trained: full, or a tuner of `tunefleet tuners`."},
    {"tuners", "Model", &JobSpec::tuners,
     "Instead: several tuners at once, name -> {type: …, options}, with the options that "
     "`tunefleet "
     "tuners NAME` lists."},
    {"tuner_backend",
     "Model",
     &JobSpec::tuner_backend,
     "How LoRA is computed: unsloth: forward and backward by hand; peft: plain operations, slower; "
     "unset: as unsloth.",
     {},
     {"peft", "unsloth"}},
    {"adapters", "Model", &JobSpec::adapters, "Checkpoints or adapter directories to start from."},
    {"torch_dtype",
     "Model",
     &JobSpec::torch_dtype,
     "Number format of the base model; unset: the one it is stored in.",
     {},
     {"float32", "bfloat16"}},
    {"seed", "Model", &JobSpec::seed, "Of everything drawn at random but the order of the data.",
     at_least(0)},
};

const Fields kDataFields{
    {"dataset", "Data", &JobSpec::dataset,
     "Paths of JSONL or JSON files, or ids of uploaded files in the service. At least one."},
    {"val_dataset", "Data", &JobSpec::val_dataset, "The same, to evaluate on."},
    {"split_dataset_ratio", "Data", &JobSpec::split_dataset_ratio,
     "Part of `dataset` held out for evaluation when `val_dataset` is empty.", from_to_below(0, 1)},
    {"data_seed", "Data", &JobSpec::data_seed, "Of the order of the data and of the split.",
     at_least(0)},
    {"dataset_shuffle", "Data", &JobSpec::dataset_shuffle, "Draw the rows in random order."},
    {"strict", "Data", &JobSpec::strict,
     "Refuse rows longer than `max_length` too; a malformed row always fails the job."},
    {"max_length", "Data", &JobSpec::max_length, "Tokens a row may have; unset: the model's limit.",
     at_least(1)},
    {"truncation_strategy",
     "Data",
     &JobSpec::truncation_strategy,
     "For longer rows: leave them out, cut from the left or right, or split them into several.",
     {},
     {"delete", "left", "right", "split"}},
    {"packing", "Data", &JobSpec::packing,
     "Put several short rows into one sequence, apart from each other."},
    {"packing_length", "Data", &JobSpec::packing_length,
     "Tokens of such a sequence; unset: `max_length`.", at_least(1)},
};

const Fields kTrainingFields{
    {"learning_rate", "Training", &JobSpec::learning_rate,
     "Learning rate after the warm-up; with tuner_type full 1e-5 unless it is given.", above(0)},
    {"lr_scheduler_type",
     "Training",
     &JobSpec::lr_scheduler_type,
     "How it falls after the warm-up.",
     {},
     {"linear", "cosine", "constant"}},
    {"warmup_ratio", "Training", &JobSpec::warmup_ratio,
     "Part of all steps in which it rises from 0.", between(0, 1)},
    {"warmup_steps", "Training", &JobSpec::warmup_steps,
     "The same in steps; wins over `warmup_ratio` when above 0.", at_least(0)},
    {"num_train_epochs", "Training", &JobSpec::num_train_epochs, "Passes over the data.",
     between(0, kMostEpochs)},
    {"max_steps", "Training", &JobSpec::max_steps,
     "Optimizer steps; above 0 it wins over `num_train_epochs`.", at_least(-1)},
    {"per_device_train_batch_size", "Training", &JobSpec::per_device_train_batch_size,
     "Rows of one rank in one micro-step.", between(1, kMostRows)},
    {"per_device_eval_batch_size", "Training", &JobSpec::per_device_eval_batch_size,
     "The same in evaluation.", between(1, kMostRows)},
    {"gradient_accumulation_steps", "Training", &JobSpec::gradient_accumulation_steps,
     "Micro-steps of one optimizer step; unset: max(1, ceil(16 / batch / workers)).",
     between(1, kMostRows)},
    {"gradient_checkpointing", "Training", &JobSpec::gradient_checkpointing,
     "Recompute activations in the backward pass: less memory, slower."},
    {"weight_decay", "Training", &JobSpec::weight_decay, "Of AdamW.", at_least(0)},
    {"adam_beta1", "Training", &JobSpec::adam_beta1, "Of AdamW.", from_to_below(0, 1)},
    {"adam_beta2", "Training", &JobSpec::adam_beta2, "Of AdamW.", from_to_below(0, 1)},
    {"adam_epsilon", "Training", &JobSpec::adam_epsilon, "Of AdamW.", above(0)},
    {"max_grad_norm", "Training", &JobSpec::max_grad_norm,
     "Gradients are scaled down to this norm; 0: never.", at_least(0)},
    {"optim",
     "Training",
     &JobSpec::optim,
     "The first two name the same AdamW.",
     {},
     {"adamw_torch", "adamw_torch_fused", "adafactor"}},
    {"neftune_noise_alpha", "Training", &JobSpec::neftune_noise_alpha,
     "NEFTune: noise on the embeddings in training, of this strength; 5 is usual.", above(0)},
    {"use_liger_kernel", "Training", &JobSpec::use_liger_kernel,
     "Fused norms, rotary embedding, SwiGLU and loss; false: plain torch operations, slower, with "
     "the logits of all labelled tokens in memory; unset: as true."},
    {"save_strategy",
     "Training",
     &JobSpec::save_strategy,
     "When checkpoints are written; the last step always is.",
     {},
     {"steps", "epoch", "no"}},
    {"save_steps", "Training", &JobSpec::save_steps, "Steps between checkpoints.", at_least(1)},
    {"eval_strategy",
     "Training",
     &JobSpec::eval_strategy,
     "When to evaluate; unset: as `save_strategy` when there is validation data.",
     {},
     {"steps", "epoch", "no"}},
    {"eval_steps", "Training", &JobSpec::eval_steps,
     "Steps between evaluations; unset: `save_steps`.", at_least(1)},
    {"save_total_limit", "Training", &JobSpec::save_total_limit, "Checkpoints kept; unset: all.",
     at_least(1)},
    {"save_only_model", "Training", &JobSpec::save_only_model,
     "Leave out the optimizer's state: the run cannot be resumed from such a checkpoint."},
    {"logging_steps", "Training", &JobSpec::logging_steps, "Steps between lines of logging.jsonl.",
     at_least(1)},
    {"logging_first_step", "Training", &JobSpec::logging_first_step, "Log the first step too."},
    {"resume_from_checkpoint", "Training", &JobSpec::resume_from_checkpoint,
     "A checkpoint directory to continue from, or \"latest\"."},
    {"output_dir", "Training", &JobSpec::output_dir,
     "Where everything is written; empty: output/<model>, in the service the job's directory."},
};

const Fields kPreferenceFields{
    {"rlhf_type",
     "Preferences",
     &JobSpec::rlhf_type,
     "dpo: learn from pairs of a chosen and a rejected answer; the reference is the model without "
     "any tuner, also those of `adapters`. Unset: supervised training.",
     {},
     {"dpo"}},
    {"beta", "Preferences", &JobSpec::beta,
     "How closely the model is held to the reference: higher is closer.", above(0)},
    {"loss_type",
     "Preferences",
     &JobSpec::loss_type,
     "The loss of a pair of answers, named as TRL names them.",
     {},
     {"sigmoid", "hinge", "ipo", "robust", "nca_pair", "sppo_hard", "apo_zero", "apo_down"}},
    {"label_smoothing", "Preferences", &JobSpec::label_smoothing,
     "Part of the preferences that are taken to be the wrong way round; of sigmoid and robust.",
     from_to_below(0, 0.5)},
    {"rpo_alpha", "Preferences", &JobSpec::rpo_alpha,
     "Adds the mean loss of the chosen answers' tokens, as in supervised training, times this.",
     above(0)},
};

const Fields kLoraFields{
    {"target_modules", kTuners, &JobSpec::target_modules,
     "Names of the modules to tune, matched at the end of their paths; all-linear: every linear "
     "layer but the head."},
    {"target_regex", kTuners, &JobSpec::target_regex,
     "Instead: a regular expression for the whole module path."},
    {"exclude_modules", kTuners, &JobSpec::exclude_modules, "Names of modules to leave alone."},
    {"modules_to_save", kTuners, &JobSpec::modules_to_save, "Modules trained and saved in full."},
    {"layers_to_transform", kTuners, &JobSpec::layers_to_transform,
     "Numbers of the layers to tune; empty: all.", at_least(0)},
    {"lora_rank", kTuners, &JobSpec::lora_rank,
     "Rank of the update; of other tuners their own default unless it is given.", at_least(1)},
    {"lora_alpha", kTuners, &JobSpec::lora_alpha,
     "The update is scaled by lora_alpha / lora_rank; of other tuners as lora_rank.", above(0)},
    {"lora_dropout", kTuners, &JobSpec::lora_dropout,
     "Dropout on the update's input; of other tuners as lora_rank.", from_to_below(0, 1)},
    {"lora_bias",
     kTuners,
     &JobSpec::lora_bias,
     "Which biases are trained; lora_only: those of the tuned layers.",
     {},
     {"none", "all", "lora_only"}},
    {"lora_dtype",
     kTuners,
     &JobSpec::lora_dtype,
     "Number format of the update; unset: float32.",
     {},
     {"float32", "bfloat16"}},
    {"use_rslora", kTuners, &JobSpec::use_rslora, "Scale by lora_alpha / sqrt(lora_rank)."},
    {"use_dora", kTuners, &JobSpec::use_dora, "DoRA: train the length of each weight row apart."},
    {"lorap_lr_ratio", kTuners, &JobSpec::lorap_lr_ratio,
     "LoRA+: learning rate of B over that of A; 16 is usual.", above(0)},
    {.key = "init_weights",
     .section = kTuners,
     .member = &JobSpec::init_weights,
     .help = "How the update starts: true, false or a word that `tunefleet tuners NAME` lists.",
     .or_boolean = true},
    {"rank_pattern", kTuners, &JobSpec::rank_pattern,
     "Module name -> rank, where it differs from `lora_rank`.", at_least(1)},
    {"alpha_pattern", kTuners, &JobSpec::alpha_pattern,
     "Module name -> alpha, where it differs from `lora_alpha`.", above(0)},
};

const Fields kSingleTunerFields{
    {"adalora_target_r", kSingle, &JobSpec::adalora_target_r, "Mean rank at the end.", at_least(1)},
    {"adalora_init_r", kSingle, &JobSpec::adalora_init_r, "Rank of each layer at the start.",
     at_least(1)},
    {"adalora_tinit", kSingle, &JobSpec::adalora_tinit, "Steps before ranks are taken away.",
     at_least(0)},
    {"adalora_tfinal", kSingle, &JobSpec::adalora_tfinal,
     "Steps at the end in which ranks stay as they are.", at_least(0)},
    {"adalora_deltaT", kSingle, &JobSpec::adalora_delta_t, "Steps between two allocations.",
     at_least(1)},
    {"adalora_beta1", kSingle, &JobSpec::adalora_beta1, "Smoothing of the importance.",
     between(0, 1)},
    {"adalora_beta2", kSingle, &JobSpec::adalora_beta2, "Smoothing of its uncertainty.",
     between(0, 1)},
    {"adalora_orth_reg_weight", kSingle, &JobSpec::adalora_orth_reg_weight,
     "Weight of the orthogonality in the loss.", above(0)},
    {"adapter_act", kSingle, &JobSpec::adapter_act, "Activation between the two layers."},
    {"adapter_length", kSingle, &JobSpec::adapter_length, "Width between them.", at_least(1)},
    {"boft_block_size", kSingle, &JobSpec::boft_block_size,
     "Inputs that are rotated together; 0: by boft_block_num.", at_least(0)},
    {"boft_block_num", kSingle, &JobSpec::boft_block_num,
     "Blocks of a layer; 0: by boft_block_size.", at_least(0)},
    {"boft_n_butterfly_factor", kSingle, &JobSpec::boft_n_butterfly_factor,
     "Rotations in a row, each of other blocks.", at_least(1)},
    {"boft_dropout", kSingle, &JobSpec::boft_dropout, "Part of the blocks left out at a time.",
     from_to_below(0, 1)},
    {"fourier_n_frequency", kSingle, &JobSpec::fourier_n_frequency,
     "Frequencies that are trained of each layer.", at_least(1)},
    {"fourier_scaling", kSingle, &JobSpec::fourier_scaling, "Scales the update."},
    {"llamapro_num_new_blocks", kSingle, &JobSpec::llamapro_num_new_blocks,
     "Layers that are added.", at_least(1)},
    {"llamapro_num_groups", kSingle, &JobSpec::llamapro_num_groups,
     "Places they are added at; unset: one for each.", at_least(1)},
    {"reft_layer_key", kSingle, &JobSpec::reft_layer_key, "Path of the list of layers."},
    {"reft_layers", kSingle, &JobSpec::reft_layers, "Numbers of the layers; empty: all.",
     at_least(0)},
    {"reft_rank", kSingle, &JobSpec::reft_rank, "Rank of the interventions.", at_least(1)},
    {"reft_intervention_type", kSingle, &JobSpec::reft_intervention_type,
     "Kind of the interventions."},
    {"reft_args", kSingle, &JobSpec::reft_args, "More settings of them, as JSON."},
    {"vera_rank", kSingle, &JobSpec::vera_rank, "Rank of the shared matrices.", at_least(1)},
    {"vera_projection_prng_key", kSingle, &JobSpec::vera_projection_prng_key,
     "Seed of the shared matrices.", at_least(0)},
    {"vera_dropout", kSingle, &JobSpec::vera_dropout, "Dropout on the input.", from_to_below(0, 1)},
    {"vera_d_initial", kSingle, &JobSpec::vera_d_initial, "Starting value of the scales d."},
};

const Fields kFullFields{
    {"freeze_parameters", "Full tuning", &JobSpec::freeze_parameters,
     "Parameters that do not train, by the beginnings of their paths."},
    {"freeze_parameters_regex", "Full tuning", &JobSpec::freeze_parameters_regex,
     "The same, by a regular expression found anywhere in the path."},
    {"freeze_parameters_ratio", "Full tuning", &JobSpec::freeze_parameters_ratio,
     "Part of the model's numbers that does not train, counted from the input on.", between(0, 1)},
    {"trainable_parameters", "Full tuning", &JobSpec::trainable_parameters,
     "Parameters that train although the keys above freeze them."},
    {"trainable_parameters_regex", "Full tuning", &JobSpec::trainable_parameters_regex,
     "The same, by a regular expression."},
    {"lisa_activated_layers", "Full tuning", &JobSpec::lisa_activated_layers,
     "LISA: so many layers train at a time, drawn at random; 0: all. 2 or 8 are usual.",
     at_least(0)},
    {"lisa_step_interval", "Full tuning", &JobSpec::lisa_step_interval,
     "Steps after which LISA draws its layers anew.", at_least(1)},
};

const Fields kGaloreFields{
    {"use_galore", "GaLore", &JobSpec::use_galore,
     "Keep the optimizer's state of matrices in a low-rank subspace of their gradients."},
    {"galore_target_modules", "GaLore", &JobSpec::galore_target_modules,
     "Texts, one of which a module's path must contain; empty: every linear layer but the head."},
    {"galore_rank", "GaLore", &JobSpec::galore_rank, "Rank of the subspace.", at_least(1)},
    {"galore_update_proj_gap", "GaLore", &JobSpec::galore_update_proj_gap,
     "Steps after which the subspace is found anew.", at_least(1)},
    {"galore_scale", "GaLore", &JobSpec::galore_scale, "Scales the projected update.", above(0)},
    {"galore_proj_type",
     "GaLore",
     &JobSpec::galore_proj_type,
     "Which side of a gradient is projected; std: the one that leaves the smaller state.",
     {},
     {"std", "reverse_std", "left", "right", "full"}},
    {"galore_with_embedding", "GaLore", &JobSpec::galore_with_embedding,
     "The embedding too, when galore_target_modules is empty."},
    {"galore_optim_per_parameter", "GaLore", &JobSpec::galore_optim_per_parameter,
     "Update each tensor within the backward pass and free its gradient at once; needs "
     "gradient_accumulation_steps 1 and does not clip."},
    {"galore_svd",
     "GaLore",
     &JobSpec::galore_svd,
     "How the subspace is found; randomized: the range finder, far faster.",
     {},
     {"exact", "randomized"}},
    {"galore_quantization", "GaLore", &JobSpec::galore_quantization,
     "Q-GaLore: 8-bit optimizer state, 8-bit weights, subspaces found anew only while they move."},
    {"galore_int8_weights", "GaLore", &JobSpec::galore_int8_weights,
     "The targeted weights in 8 bits, updated with stochastic rounding; unset: as "
     "galore_quantization."},
    {"galore_proj_quant", "GaLore", &JobSpec::galore_proj_quant,
     "Q-GaLore: keep the projector quantised."},
    {"galore_proj_bits", "GaLore", &JobSpec::galore_proj_bits, "Its bits.", between(1, 8)},
    {"galore_proj_group_size", "GaLore", &JobSpec::galore_proj_group_size,
     "Numbers of it that share a scale.", at_least(1)},
    {"galore_cos_threshold", "GaLore", &JobSpec::galore_cos_threshold,
     "Q-GaLore: a subspace whose direction keeps this cosine is found anew less often.",
     between(-1, 1)},
    {"galore_gamma_proj", "GaLore", &JobSpec::galore_gamma_proj,
     "By which factor the gap then grows.", at_least(1)},
    {"galore_queue_size", "GaLore", &JobSpec::galore_queue_size,
     "Cosines that must be known first.", at_least(1)},
};

const Fields kServiceFields{
    {"name", "Service", &JobSpec::name,
     "Shown in lists, and part of the tuned model's name; at most 64 characters, without / and :."},
    {"workers", "Service", &JobSpec::workers,
     "Ranks that train together; min..max: as many as there is room for, and the service may "
     "change it.",
     between(1, 4096)},
    {"priority", "Service", &JobSpec::priority, "Higher starts first.", between(-1000, 1000)},
    {"device",
     "Service",
     &JobSpec::device,
     "Where ranks compute; auto: a GPU where there is one.",
     {},
     {"auto", "cpu", "cuda"}},
    {"max_minutes", "Service", &JobSpec::max_minutes,
     "Bounds the training time, the schedule adapts; 0: no bound.", at_least(0)},
};

struct KindText {
  std::string_view operator()(std::string JobSpec::*) const { return "text"; }
  std::string_view operator()(std::optional<std::string> JobSpec::*) const { return "text"; }
  std::string_view operator()(int64_t JobSpec::*) const { return "whole number"; }
  std::string_view operator()(std::optional<int64_t> JobSpec::*) const { return "whole number"; }
  std::string_view operator()(double JobSpec::*) const { return "number"; }
  std::string_view operator()(std::optional<double> JobSpec::*) const { return "number"; }
  std::string_view operator()(bool JobSpec::*) const { return "true or false"; }
  std::string_view operator()(std::optional<bool> JobSpec::*) const { return "true or false"; }
  std::string_view operator()(std::vector<std::string> JobSpec::*) const { return "list of texts"; }
  std::string_view operator()(std::vector<int64_t> JobSpec::*) const {
    return "list of whole numbers";
  }
  std::string_view operator()(std::map<std::string, int64_t> JobSpec::*) const {
    return "map of whole numbers";
  }
  std::string_view operator()(std::map<std::string, double> JobSpec::*) const {
    return "map of numbers";
  }
  std::string_view operator()(std::map<std::string, std::string> JobSpec::*) const {
    return "map of maps";
  }
  std::string_view operator()(WorkerRange JobSpec::*) const { return "whole number or range"; }
};

}  // namespace

std::string_view JobField::kind_text() const { return std::visit(KindText{}, member); }

const std::vector<JobField>& job_fields() {
  static const std::vector<JobField> fields = [] {
    std::vector<JobField> all;
    for (const auto& section :
         {kModelFields, kDataFields, kTrainingFields, kPreferenceFields, kLoraFields,
          kSingleTunerFields, kFullFields, kGaloreFields, kServiceFields}) {
      all.insert(all.end(), section.begin(), section.end());
    }
    return all;
  }();
  return fields;
}

const JobField* find_job_field(std::string_view key) {
  for (const auto& field : job_fields()) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

const std::vector<std::string_view>& job_keys() {
  static const std::vector<std::string_view> keys = [] {
    std::vector<std::string_view> all;
    for (const auto& field : job_fields()) all.push_back(field.key);
    return all;
  }();
  return keys;
}

}  // namespace tunefleet
