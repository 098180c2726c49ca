#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "tuners/swift_model.h"
#include "worker/collective/gradient_sync.h"
#include "worker/collective/group.h"
#include "worker/data/sampler.h"
#include "worker/models/decoder.h"
#include "worker/trainer/backward_updates.h"
#include "worker/trainer/evaluation.h"
#include "worker/trainer/objective.h"
#include "worker/trainer/optimizer.h"
#include "worker/trainer/reporter.h"
#include "worker/trainer/run_checkpoint.h"
#include "worker/trainer/run_plan.h"
#include "worker/trainer/training_data.h"
#include "worker/trainer/training_log.h"

namespace tunefleet::trainer {

/// The parts of a run, all owned by the caller and outliving the trainer.
struct TrainerParts {
  const JobSpec& spec;
  models::Decoder& model;
  tuners::SwiftModel& swift;
  const TrainingData& data;
  collective::Group& group;
  Reporter& reporter;
  TrainingLog& log;
  CheckpointContext checkpoints;
};

/// The step loop of one rank. Every rank runs the same steps on its own rows; what a step trains
/// on, draws and computes depends on (job, step) and the number of ranks alone, so that a resumed
/// run is bit-equal to an undisturbed one.
///
///   control -> tuners before the step -> forward and backward of each micro-batch -> all-reduce ->
///   clip -> tuners after backward -> optimizer -> tuners after the step -> log, evaluate, save
///
/// When a tuner changes what trains, gradients and optimizer follow before the next forward pass.
/// With galore_optim_per_parameter all-reduce and optimizer run within backward, tensor by tensor.
class Trainer {
 public:
  /// Throws std::invalid_argument as make_optimizer() does.
  Trainer(const TrainerParts& parts, const RunPlan& plan);

  /// Continues from a verified checkpoint whose adapters are on the model already.
  Status resume(const std::filesystem::path& checkpoint);
  /// To the end, a stop signal or max_minutes. Returns result.json's content (the same on all ranks
  /// but for `checkpoint`, which rank 0 knows). kInvalidArgument when the loss is no longer finite.
  Result<nlohmann::json> run();

 private:
  /// What a step adds up, over the steps since the last log line.
  struct Window {
    double loss = 0.0;  ///< This rank's part of the steps' mean losses.
    Sums sums;          ///< Of this rank's rows, as the objective counts.
    int64_t tokens = 0, steps = 0;
    double seconds = 0.0;
  };
  /// What rank 0 decides for all before a step.
  struct Control {
    bool stop = false;
    double fraction = 0.0;  ///< Of the time that max_minutes gives, used up.
  };

  Control agree_on_control();
  double learning_rate(const Control& control) const;
  Status step(const Control& control);
  void use_trainable_set();
  void run_micro_batches(const std::vector<int64_t>& rows);
  void run_micro_batch(size_t part);
  void join_in(const std::vector<int64_t>& rows);
  at::Tensor anchor() const;
  tuners::ForwardContext training_context() const;
  void add_regularization();
  void update(const tuners::StepInfo& info);
  Status after_step();
  Status log_window();
  Status log_evaluation(const Evaluation& evaluation);
  Status evaluate_now();
  Status save();
  void report_status(const std::string& phase);
  bool logs_at(int64_t step) const;
  double remaining_seconds() const;
  int64_t expected_steps() const;
  nlohmann::json result(const std::string& stopped_by) const;

  TrainerParts parts_;
  RunPlan plan_;
  tuners::TrainableSet registered_;  ///< All that may train.
  tuners::TrainableSet trainable_;   ///< What trains in this step.
  std::unique_ptr<Objective> objective_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<collective::GradientSync> sync_;  ///< Or, tensor by tensor, `updates_`.
  std::unique_ptr<BackwardUpdates> updates_;
  bool set_moved_ = true;  ///< Since gradients and optimizer were told.
  data::Sampler sampler_;
  RunProgress progress_;
  Window window_;
  RankStatus status_;
  double grad_norm_ = 0.0;
  double learning_rate_ = 0.0;
  double total_tokens_ = 0.0;   ///< Input tokens of this attempt, all ranks (known on rank 0).
  double timed_seconds_ = 0.0;  ///< Seconds in steps of this attempt.
  std::optional<Evaluation> last_evaluation_;
  int64_t evaluated_at_ = -1;
  int64_t saved_at_ = -1;
  std::filesystem::path checkpoint_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace tunefleet::trainer
