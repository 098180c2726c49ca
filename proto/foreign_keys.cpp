#include "proto/foreign_keys.h"

#include <array>

namespace tunefleet {
namespace {

struct ForeignKey {
  std::string_view pattern;  ///< A key, or the beginning of several with a * at the end.
  std::string_view advice;
};

constexpr std::string_view kNoGradientStart =
    "belongs to LoRA-GA, which is not supported: remove it, and use init_weights: pissa or olora "
    "to "
    "start from the weights";
constexpr std::string_view kOneModel =
    "chooses among the parts of a multimodal model: remove it, and use freeze_parameters with "
    "tuner_type full";
constexpr std::string_view kNoQuantization =
    "quantised base models are not supported: remove it, and use torch_dtype: bfloat16 to save "
    "memory";
constexpr std::string_view kNoSharding =
    "sharding the model over ranks is not supported, each rank holds all of it: remove it, and set "
    "workers for "
    "data-parallel training";
constexpr std::string_view kAlwaysTokenized =
    "has no effect here, rows are tokenised by the ranks as they start: remove it";
constexpr std::string_view kDtype =
    "is not read: use torch_dtype: bfloat16 or torch_dtype: float32";
constexpr std::string_view kOneReference =
    "has no choice here: remove it, the reference is the model without its tuners";
constexpr std::string_view kEpochs = "is called num_train_epochs here";
constexpr std::string_view kTrainBatch = "is called per_device_train_batch_size here";

// A plain list, first match wins: exact keys stand before the patterns that cover them.
constexpr std::array kForeignKeys{
    // Memory and scale.
    ForeignKey{"deepspeed", kNoSharding},
    ForeignKey{"fsdp*", kNoSharding},
    ForeignKey{"quant_*", kNoQuantization},
    ForeignKey{"bnb_*", kNoQuantization},
    ForeignKey{"load_in_*", kNoQuantization},
    ForeignKey{"hqq_*", kNoQuantization},
    ForeignKey{"attn_impl",
               "has no choice here: remove it, attention is always scaled-dot-product (sdpa)"},
    ForeignKey{"padding_free",
               "is not supported: use packing: true, which leaves no padding either"},
    ForeignKey{"ddp_*", "is not read: remove it, the service watches over its ranks by heartbeats"},
    // Data.
    ForeignKey{
        "streaming",
        "streaming data sets are not supported: remove it, data sets are read once as a file"},
    ForeignKey{
        "columns",
        "is not supported: rename the columns in the file (query and response, or messages)"},
    ForeignKey{"lazy_tokenize", kAlwaysTokenized},
    ForeignKey{"dataset_num_proc", kAlwaysTokenized},
    ForeignKey{"load_from_cache_file", kAlwaysTokenized},
    ForeignKey{"dataloader_*", kAlwaysTokenized},
    ForeignKey{"group_by_length", "is not supported: use packing: true, which wastes less still"},
    ForeignKey{"loss_scale", "is not supported: remove it, the loss is taken over every answer"},
    ForeignKey{"max_seq_length", "is called max_length here"},
    ForeignKey{"train_dataset", "is called dataset here"},
    ForeignKey{"eval_dataset", "is called val_dataset here"},
    ForeignKey{"dataset_test_ratio", "is called split_dataset_ratio here"},
    // Model and task.
    ForeignKey{"model_type", "is not read: remove it, the model's config.json says what it is"},
    ForeignKey{"model_id_or_path", "is called model here"},
    ForeignKey{"model_name_or_path", "is called model here"},
    ForeignKey{"base_model", "is called model here"},
    ForeignKey{"task_type", "is not read: remove it, every job trains a causal language model"},
    ForeignKey{"ref_adapters",
               "is not supported: merge the adapter first, and name the merged model under model"},
    ForeignKey{"ref_*", kOneReference},
    ForeignKey{"reference_free", kOneReference},
    ForeignKey{"loss_weights", "is not supported: choose one loss_type, and rpo_alpha beside it"},
    ForeignKey{"precompute_ref_log_probs",
               "is not read: remove it, the reference runs in each step and keeps no second copy"},
    ForeignKey{"max_prompt_length", "is not read: max_length bounds prompt and answer together"},
    ForeignKey{"max_completion_length",
               "is not read: max_length bounds prompt and answer together"},
    ForeignKey{"train_type", "is called tuner_type here"},
    ForeignKey{"sft_type", "is called tuner_type here"},
    ForeignKey{
        "fp16",
        "float16 training is not supported: use torch_dtype: bfloat16 or torch_dtype: float32"},
    ForeignKey{"bf16", kDtype},
    ForeignKey{"dtype", kDtype},
    // Training.
    ForeignKey{"optimizer", "is not supported: choose by optim, or use_galore"},
    ForeignKey{"lr_scheduler_kwargs",
               "is not supported: remove it, and choose by lr_scheduler_type and warmup_steps"},
    ForeignKey{"max_epochs", "is not supported: use num_train_epochs, max_steps or max_minutes"},
    ForeignKey{"report_to",
               "is not supported: remove it, metrics go to logging.jsonl and the job's events"},
    ForeignKey{"metric_for_best_model",
               "choosing a best checkpoint is not supported: remove it, and compare eval_loss"},
    ForeignKey{"load_best_model_at_end",
               "choosing a best checkpoint is not supported: remove it, and compare eval_loss"},
    ForeignKey{"greater_is_better",
               "choosing a best checkpoint is not supported: remove it, and compare eval_loss"},
    ForeignKey{"early_stop_interval",
               "early stopping is not supported: use max_steps or max_minutes"},
    ForeignKey{"resume_only_model",
               "is not supported: to start from an adapter's weights alone, name it in adapters"},
    ForeignKey{"ignore_data_skip",
               "is not supported: remove it, a resumed run goes on at the row it had reached"},
    ForeignKey{"create_checkpoint_symlink",
               "is not supported: remove it, `latest` always names the newest checkpoint"},
    ForeignKey{"add_version", "is not supported: remove it, every job has a directory of its own"},
    ForeignKey{"load_args", "is not supported: write out the settings that the job shall have"},
    ForeignKey{"n_epochs", kEpochs},
    ForeignKey{"num_epochs", kEpochs},
    ForeignKey{"epochs", kEpochs},
    ForeignKey{"lr", "is called learning_rate here"},
    ForeignKey{"lr_scheduler", "is called lr_scheduler_type here"},
    ForeignKey{"batch_size", kTrainBatch},
    ForeignKey{"train_batch_size", kTrainBatch},
    ForeignKey{"eval_batch_size", "is called per_device_eval_batch_size here"},
    ForeignKey{"gradient_accumulation", "is called gradient_accumulation_steps here"},
    ForeignKey{"evaluation_strategy", "is called eval_strategy here"},
    // LoRA and the other tuners.
    ForeignKey{"r", "is called lora_rank here"},
    ForeignKey{"rank", "is called lora_rank here"},
    ForeignKey{"lora_r", "is called lora_rank here"},
    ForeignKey{"alpha", "is called lora_alpha here"},
    ForeignKey{"lora_dropout_p", "is called lora_dropout here"},
    ForeignKey{"lora_target_modules", "is called target_modules here"},
    ForeignKey{"lora_modules_to_save", "is called modules_to_save here"},
    ForeignKey{"init_lora_weights", "is called init_weights here"},
    ForeignKey{"bias", "is called lora_bias here"},
    ForeignKey{"lora_lr_ratio", "is called lorap_lr_ratio here"},
    ForeignKey{"lora_plus_lr_ratio", "is called lorap_lr_ratio here"},
    ForeignKey{"lora_ga_*", kNoGradientStart},
    ForeignKey{"target_parameters",
               "is not supported: name modules in target_modules or target_regex"},
    ForeignKey{"freeze_llm", kOneModel},
    ForeignKey{"freeze_vit", kOneModel},
    ForeignKey{"freeze_aligner", kOneModel},
    ForeignKey{"vera_target_modules", "is called target_modules here"},
    ForeignKey{"boft_target_modules", "is called target_modules here"},
    ForeignKey{"boft_modules_to_save", "is called modules_to_save here"},
    ForeignKey{"vera_modules_to_save", "is called modules_to_save here"},
    // The service.
    ForeignKey{"queue", "there is one queue: remove it, and use priority to start earlier"},
    ForeignKey{"launcher", "is not a setting of a job: remove it, agents start the ranks"},
    ForeignKey{"nproc_per_node", "is called workers here"},
    ForeignKey{"num_workers", "is called workers here"},
};

bool matches(std::string_view pattern, std::string_view key) {
  if (!pattern.ends_with('*')) return key == pattern;
  return key.starts_with(pattern.substr(0, pattern.size() - 1));
}

}  // namespace

std::optional<std::string_view> foreign_key_advice(std::string_view key) {
  for (const auto& entry : kForeignKeys) {
    if (matches(entry.pattern, key)) return entry.advice;
  }
  return std::nullopt;
}

}  // namespace tunefleet
