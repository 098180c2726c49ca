#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "tuners/swift_model.h"
#include "worker/trainer/optimizer.h"

namespace tunefleet::trainer {

/// Where a run stands between two steps, beside its tensors: state/trainer_state.json.
struct RunProgress {
  int64_t step = 0;             ///< Optimizer steps done.
  int64_t trained_tokens = 0;   ///< Labelled tokens, over all ranks.
  double eval_loss_before = 0;  ///< Of the untuned model.
  bool has_eval_before = false;
  double train_loss_sum = 0.0;   ///< Of the steps' mean losses.
  double trained_seconds = 0.0;  ///< In steps, all attempts together: max_minutes counts on.
};

struct CheckpointContext {
  std::filesystem::path run;  ///< The output directory.
  int64_t attempt = 0;
  int64_t world_size = 1;
  std::filesystem::path base_model;
  std::string base_model_digest;  ///< Found out at the first save: it reads all weights, and no run
                                  ///< waits for it to start.
};

/// Writes checkpoint-<step> (see storage/checkpoint.md): the adapters in Swift's and PEFT's layout,
/// or after full tuning the whole model as a Hugging Face directory; optimizer, tuners' own state
/// and progress unless the job says save_only_model; the job; then removes what save_total_limit
/// lets go. Rank 0 alone calls it.
Result<std::filesystem::path> save_checkpoint(CheckpointContext& context, const JobSpec& spec,
                                              const tuners::SwiftModel& model,
                                              const Optimizer& optimizer,
                                              const RunProgress& progress,
                                              const nlohmann::json& metrics);

/// The checkpoint that `resume_from_checkpoint` means: a directory, or "latest" for the newest of
/// `run` that verifies. It has been verified. kNotFound, kDataLoss as storage has it.
Result<std::filesystem::path> find_checkpoint(const std::string& wanted,
                                              const std::filesystem::path& run);

/// Reads state/ of a verified checkpoint into the optimizer and the tuners and returns the progress.
/// kInvalidArgument when the checkpoint was saved without its state, or of another trainable set.
Result<RunProgress> load_run_state(const std::filesystem::path& checkpoint, Optimizer& optimizer,
                                   tuners::SwiftModel& model);

}  // namespace tunefleet::trainer
