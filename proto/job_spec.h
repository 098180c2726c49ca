#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tunefleet {

/// How many ranks a job runs on. A step trains on the same rows whatever the number is.
struct WorkerRange {
  int64_t min = 1;
  int64_t max = 1;  ///< Above min: elastic, the service chooses within.
  bool operator==(const WorkerRange&) const = default;
};
/// "2", "2..8".
std::string range_text(const WorkerRange& range);
/// The range that range_text() or a whole number says; nothing for anything else.
std::optional<WorkerRange> worker_range_of(const nlohmann::json& value);

/// One fine-tuning job as its author wrote it: keys and defaults are those of `swift sft` (ms-swift 4.x),
/// ours follow at the end. A value; see job_spec_parser.h for reading it and proto/job_spec.md for every key.
/// An optional without a value means "not set", and what that means stands at the field.
struct JobSpec {
  // Model
  std::string model;                     ///< A name under the models directory, or a path (HF directory or .gguf).
  std::optional<std::string> template_;  ///< Key `template`: chatml, llama3, qwen, plain; unset: as the model says.
  std::optional<std::string> system;     ///< System prompt for rows that have none.
  std::string tuner_type = "lora";        ///< full, or a tuner of `tunefleet tuners`.
  /// Several tuners at once, in place of tuner_type: name -> its map {"type": …, options} as JSON
  /// text, which this room does not understand (tuners/config/job_options.h does).
  std::map<std::string, std::string> tuners;
  std::optional<std::string> tuner_backend;  ///< peft: LoRA in plain operations; unsloth or unset: by hand.
  std::vector<std::string> adapters;      ///< Checkpoints or adapter directories to start from.
  std::optional<std::string> torch_dtype; ///< float32 | bfloat16; unset: the model's own.
  int64_t seed = 42;

  // Data
  std::vector<std::string> dataset;      ///< Paths (JSONL or JSON), or ids of uploaded files in the service.
  std::vector<std::string> val_dataset;
  double split_dataset_ratio = 0.0;      ///< Part of `dataset` held out for evaluation when val_dataset is empty.
  int64_t data_seed = 42;
  bool dataset_shuffle = true;
  bool strict = false;                   ///< A malformed row fails the job; otherwise too (we never drop rows silently) unless truncated.
  std::optional<int64_t> max_length;     ///< Tokens a row may have; unset: the model's limit.
  std::string truncation_strategy = "delete";  ///< For longer rows: delete | left | right | split.
  bool packing = false;
  std::optional<int64_t> packing_length;  ///< Unset: max_length.

  // Training
  double learning_rate = 1e-4;
  std::string lr_scheduler_type = "cosine";  ///< linear | cosine | constant; each with warm-up.
  double warmup_ratio = 0.0;
  int64_t warmup_steps = 0;                  ///< Wins over warmup_ratio when > 0.
  double num_train_epochs = 3.0;
  int64_t max_steps = -1;                    ///< > 0 wins over num_train_epochs.
  int64_t per_device_train_batch_size = 1;
  int64_t per_device_eval_batch_size = 1;
  std::optional<int64_t> gradient_accumulation_steps;  ///< Unset: max(1, ceil(16 / batch / workers)).
  bool gradient_checkpointing = true;
  double weight_decay = 0.1;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;                ///< 0: no clipping.
  std::string optim = "adamw_torch";         ///< adamw_torch | adamw_torch_fused (the same here) | adafactor.
  std::optional<double> neftune_noise_alpha;  ///< NEFTune's noise on the embeddings in training; unset: none.
  std::optional<bool> use_liger_kernel;      ///< Unset or true: fused kernels; false: plain torch operations.
  std::string save_strategy = "steps";       ///< steps | epoch | no (the last step is always saved).
  int64_t save_steps = 500;
  std::optional<std::string> eval_strategy;  ///< Unset: follows save_strategy when there is validation data.
  std::optional<int64_t> eval_steps;         ///< Unset: follows save_steps.
  std::optional<int64_t> save_total_limit;   ///< Checkpoints kept; unset: all.
  bool save_only_model = false;              ///< Leave out state/: the run cannot be resumed from it.
  int64_t logging_steps = 5;
  bool logging_first_step = true;
  std::optional<std::string> resume_from_checkpoint;  ///< A checkpoint directory, or "latest".
  std::string output_dir;                    ///< Empty: `output/<model>` alone, the job's directory in the service.

  // Preferences
  std::optional<std::string> rlhf_type;      ///< dpo; unset: supervised training.
  double beta = 0.1;                         ///< How closely DPO holds the model to the reference.
  std::string loss_type = "sigmoid";         ///< Of DPO, see worker/trainer/preference_loss.h.
  double label_smoothing = 0.0;              ///< Part of the preferences taken to be the wrong way round.
  std::optional<double> rpo_alpha;           ///< Weight of the chosen answers' own loss; unset: none.

  // Tuners: LoRA's, and of others what they have too
  std::vector<std::string> target_modules{"all-linear"};
  std::optional<std::string> target_regex;   ///< Full match on the module path; wins over target_modules.
  std::vector<std::string> exclude_modules;
  std::vector<std::string> modules_to_save;
  std::vector<int64_t> layers_to_transform;
  int64_t lora_rank = 8;
  double lora_alpha = 32.0;
  double lora_dropout = 0.05;
  std::string lora_bias = "none";            ///< none | all | lora_only.
  std::optional<std::string> lora_dtype;     ///< float32 | bfloat16; unset: float32.
  bool use_rslora = false;
  bool use_dora = false;
  std::optional<double> lorap_lr_ratio;      ///< LoRA+: learning rate of B over that of A.
  std::string init_weights = "true";         ///< true | false | a word of the tuner.
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;

  // Single tuners
  int64_t adalora_target_r = 8;
  int64_t adalora_init_r = 12;
  int64_t adalora_tinit = 0;
  int64_t adalora_tfinal = 0;
  int64_t adalora_delta_t = 1;                     ///< Key adalora_deltaT.
  double adalora_beta1 = 0.85;
  double adalora_beta2 = 0.85;
  double adalora_orth_reg_weight = 0.5;
  std::string adapter_act = "gelu";
  int64_t adapter_length = 128;
  int64_t boft_block_size = 4;
  int64_t boft_block_num = 0;
  int64_t boft_n_butterfly_factor = 1;
  double boft_dropout = 0.0;
  int64_t fourier_n_frequency = 2000;
  double fourier_scaling = 300.0;
  int64_t llamapro_num_new_blocks = 4;
  std::optional<int64_t> llamapro_num_groups;      ///< Unset: llamapro_num_new_blocks.
  std::optional<std::string> reft_layer_key;
  std::vector<int64_t> reft_layers;                ///< Empty: all.
  int64_t reft_rank = 4;
  std::string reft_intervention_type = "LoreftIntervention";
  std::optional<std::string> reft_args;            ///< JSON.
  int64_t vera_rank = 256;
  int64_t vera_projection_prng_key = 0;
  double vera_dropout = 0.0;
  double vera_d_initial = 0.1;

  // Full tuning
  std::vector<std::string> freeze_parameters;      ///< Beginnings of parameter paths that do not train.
  std::optional<std::string> freeze_parameters_regex;
  double freeze_parameters_ratio = 0.0;            ///< Part of all numbers, from the input on, that does not train.
  std::vector<std::string> trainable_parameters;   ///< Beginnings of paths that train nevertheless.
  std::optional<std::string> trainable_parameters_regex;
  int64_t lisa_activated_layers = 0;               ///< LISA: layers that train at a time; 0: all of them.
  int64_t lisa_step_interval = 20;                 ///< Steps between two draws of the layers.

  // GaLore
  bool use_galore = false;
  std::vector<std::string> galore_target_modules;  ///< Parts of module paths; empty: every linear layer but the head.
  int64_t galore_rank = 128;
  int64_t galore_update_proj_gap = 50;             ///< Steps between two projectors of a matrix.
  double galore_scale = 1.0;
  std::string galore_proj_type = "std";            ///< std | reverse_std | left | right | full.
  bool galore_with_embedding = false;
  bool galore_optim_per_parameter = false;         ///< Update each tensor as soon as its gradient is there, and free it.
  std::string galore_svd = "exact";                ///< exact | randomized (ours).
  bool galore_quantization = false;                ///< Q-GaLore.
  std::optional<bool> galore_int8_weights;         ///< Unset: as galore_quantization (ours).
  bool galore_proj_quant = false;
  int64_t galore_proj_bits = 4;
  int64_t galore_proj_group_size = 256;
  double galore_cos_threshold = 0.4;
  double galore_gamma_proj = 2.0;
  int64_t galore_queue_size = 5;

  // Ours
  std::string name;                          ///< Shown in lists; part of the tuned model's name (OpenAI: suffix).
  WorkerRange workers;                       ///< Ranks: a number, or min..max for an elastic job.
  int64_t priority = 0;                      ///< Higher starts first.
  std::string device = "auto";               ///< auto | cpu | cuda.
  double max_minutes = 0.0;                  ///< Bounds the time spent training; 0: none. The schedule adapts to it.
};

/// Every field under its job-file key, unset optionals as null: what args.json holds and the API returns.
nlohmann::json to_json(const JobSpec& spec);

}  // namespace tunefleet
