#include "worker/trainer/trainer.h"

#include <algorithm>
#include <cmath>

#include "proto/log.h"
#include "worker/trainer/make_optimizer.h"
#include "worker/trainer/stop_signal.h"

namespace tunefleet::trainer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The context of a pass in evaluation, with the implementations that the job asks for.
tuners::ForwardContext chosen_kernels(const JobSpec& spec) {
  using tuners::Kernels;
  return {.base_kernels = spec.use_liger_kernel.value_or(true) ? Kernels::kFused : Kernels::kPlain,
          .lora_kernels = spec.tuner_backend == "peft" ? Kernels::kPlain : Kernels::kFused};
}

}  // namespace

Trainer::Trainer(const TrainerParts& parts, const RunPlan& plan)
    : parts_(parts),
      plan_(plan),
      registered_(parts.swift.trainable_set()),
      objective_(make_objective(parts.spec, parts.data, parts.model, parts.swift)),
      optimizer_(make_optimizer(parts.swift, parts.spec)),
      sampler_(parts.data.rows(), parts.spec.data_seed, parts.spec.dataset_shuffle) {
  status_.max_steps = plan.max_steps;
  window_.sums.resize(objective_->sum_count());
}

Status Trainer::resume(const std::filesystem::path& checkpoint) {
  auto progress = load_run_state(checkpoint, *optimizer_, parts_.swift);
  if (!progress) return fail(progress.error());
  progress_ = *progress;
  checkpoint_ = checkpoint;
  saved_at_ = progress_.step;
  return {};
}

Result<nlohmann::json> Trainer::run() {
  if (parts_.data.eval.size() > 0 && !progress_.has_eval_before) {
    report_status("evaluating");
    if (auto status = evaluate_now(); !status) return fail(status.error());
    progress_.eval_loss_before = last_evaluation_->loss;
    progress_.has_eval_before = true;
  }
  std::string stopped_by = "end";
  while (progress_.step < plan_.max_steps) {
    report_status("training");
    const auto control = agree_on_control();
    if (control.stop) stopped_by = "signal";
    if (control.fraction >= 1.0) stopped_by = "max_minutes";
    if (stopped_by != "end") break;
    if (auto status = step(control); !status) return fail(status.error());
    if (auto status = after_step(); !status) return fail(status.error());
  }
  if (auto status = log_window(); !status) return fail(status.error());
  if (stopped_by != "signal" && parts_.data.eval.size() > 0 && evaluated_at_ != progress_.step) {
    report_status("evaluating");
    if (auto status = evaluate_now(); !status) return fail(status.error());
  }
  report_status("saving");
  if (saved_at_ != progress_.step) {
    if (auto status = save(); !status) return fail(status.error());
  }
  return result(stopped_by);
}

Trainer::Control Trainer::agree_on_control() {
  const double limit = parts_.spec.max_minutes * 60.0;
  std::vector<double> words{stop_requested() ? 1.0 : 0.0,
                            limit > 0.0 ? progress_.trained_seconds / limit : 0.0};
  parts_.group.broadcast(words);
  return {words[0] != 0.0, words[1]};
}

double Trainer::learning_rate(const Control& control) const {
  const auto steps = static_cast<double>(progress_.step);
  return plan_.schedule.at(
      std::max(steps, control.fraction * static_cast<double>(plan_.max_steps)));
}

Status Trainer::step(const Control& control) {
  const auto start = Clock::now();
  const tuners::StepInfo info{.step = progress_.step,
                              .max_steps = plan_.max_steps,
                              .seed = static_cast<uint64_t>(parts_.spec.seed)};
  set_moved_ = parts_.swift.before_step(info) || set_moved_;
  if (set_moved_) use_trainable_set();
  learning_rate_ = learning_rate(control);
  if (sync_) sync_->zero();
  run_micro_batches(sampler_.global_batch(progress_.step, plan_.batch_total));
  if (sync_) {
    add_regularization();
    update(info);
  }
  if (!std::isfinite(grad_norm_)) {
    return fail(ErrorCode::kInvalidArgument,
                "training diverged: the gradient is not finite at step " +
                    std::to_string(progress_.step + 1) + "; lower learning_rate");
  }
  ++progress_.step;
  ++window_.steps;
  const double seconds = seconds_since(start);
  window_.seconds += seconds;
  progress_.trained_seconds += seconds;
  return {};
}

/// Gradients and optimizer for what trains from now on. What does not train any more has neither.
void Trainer::use_trainable_set() {
  sync_.reset();
  updates_.reset();
  trainable_ = parts_.swift.trainable_set();
  optimizer_->set_groups(optimizer_groups(parts_.swift, parts_.spec));
  if (parts_.spec.galore_optim_per_parameter) {
    updates_ = std::make_unique<BackwardUpdates>(trainable_, parts_.group, *optimizer_);
  } else {
    sync_ = std::make_unique<collective::GradientSync>(trainable_, parts_.group);
  }
  set_moved_ = false;
}

/// All-reduces, clips and steps.
void Trainer::update(const tuners::StepInfo& info) {
  sync_->all_reduce();
  grad_norm_ = sync_->norm();
  if (!std::isfinite(grad_norm_)) return;
  const double limit = parts_.spec.max_grad_norm;
  if (limit > 0.0 && grad_norm_ > limit) sync_->scale(limit / (grad_norm_ + 1e-6));
  set_moved_ = parts_.swift.after_backward(info) || set_moved_;
  optimizer_->step(learning_rate_);
  set_moved_ = parts_.swift.after_step(info) || set_moved_;
}

/// Once for all ranks, whose gradients are summed.
void Trainer::add_regularization() {
  if (parts_.group.rank() != 0) return;
  const auto penalty = parts_.swift.regularization();
  if (!penalty.defined()) return;
  penalty.backward();
  window_.loss += penalty.item<double>();
}

void Trainer::run_micro_batches(const std::vector<int64_t>& rows) {
  const int64_t labelled = parts_.data.labelled_tokens(rows);
  progress_.trained_tokens += labelled;
  grad_norm_ = 0.0;
  if (labelled == 0) return;
  auto mine = data::shard(rows, parts_.group.rank(), parts_.group.size(), plan_.micro_batch);
  std::erase_if(mine, [&](const auto& part) { return parts_.data.labelled_tokens(part) == 0; });
  objective_->begin_step(rows, mine, training_context());
  if (!updates_) {
    for (size_t part = 0; part < mine.size(); ++part) run_micro_batch(part);
    return;
  }
  // One backward pass on every rank, in which all ranks sum each gradient together.
  updates_->begin(learning_rate_);
  if (mine.empty()) {
    join_in(rows);
  } else {
    run_micro_batch(0);
  }
  grad_norm_ = updates_->end();
}

tuners::ForwardContext Trainer::training_context() const {
  auto context = chosen_kernels(parts_.spec);
  context.training = true;
  context.seed = static_cast<uint64_t>(parts_.spec.seed);
  context.step = progress_.step;
  return context;
}

at::Tensor Trainer::anchor() const {
  return parts_.spec.gradient_checkpointing ? trainable_.tensors.front().tensor : at::Tensor();
}

/// Forward and backward over some rows of this step.
void Trainer::run_micro_batch(size_t part) {
  const auto done = objective_->loss(part, training_context(), anchor(), window_.sums);
  done.loss.backward();
  window_.loss += done.value;
  window_.tokens += done.tokens;
}

/// A backward pass of a rank without labels of its own, with a row that does not count.
void Trainer::join_in(const std::vector<int64_t>& rows) {
  const auto any = std::find_if(rows.begin(), rows.end(), [&](int64_t row) {
    return parts_.data.labelled_tokens({row}) > 0;
  });
  const auto batch = parts_.data.batch({*any});
  parts_.model
      .loss(token_batch(batch), with_token_keys(training_context(), batch), 0.0, nullptr, anchor())
      .backward();
}

Status Trainer::after_step() {
  if (logs_at(progress_.step)) {
    if (auto status = log_window(); !status) return status;
  }
  const bool evaluates = plan_.evaluate_every > 0 && progress_.step % plan_.evaluate_every == 0;
  if (evaluates && parts_.data.eval.size() > 0) {
    report_status("evaluating");
    if (auto status = evaluate_now(); !status) return status;
  }
  const bool last = progress_.step == plan_.max_steps;
  if (last || plan_.save_every <= 0 || progress_.step % plan_.save_every != 0) return {};
  if (auto status = log_window(); !status)
    return status;  // So that the checkpoint's sums are whole.
  report_status("saving");
  return save();
}

bool Trainer::logs_at(int64_t step) const {
  return step % parts_.spec.logging_steps == 0 || (step == 1 && parts_.spec.logging_first_step);
}

Status Trainer::evaluate_now() {
  last_evaluation_ =
      evaluate(*objective_, parts_.data.eval_rows(), parts_.spec.per_device_eval_batch_size,
               parts_.group, chosen_kernels(parts_.spec));
  evaluated_at_ = progress_.step;
  return log_evaluation(*last_evaluation_);
}

void Trainer::report_status(const std::string& phase) {
  status_.phase = phase;
  status_.step = progress_.step;
  status_.max_steps = expected_steps();
  status_.learning_rate = learning_rate_;
  status_.remaining_s = remaining_seconds();
  parts_.reporter.update(status_);
}

double Trainer::remaining_seconds() const {
  if (progress_.step == 0 || progress_.trained_seconds <= 0.0) return 0.0;
  const double per_step = progress_.trained_seconds / static_cast<double>(progress_.step);
  const double by_steps = per_step * static_cast<double>(plan_.max_steps - progress_.step);
  const double limit = parts_.spec.max_minutes * 60.0;
  return limit > 0.0 ? std::max(0.0, std::min(by_steps, limit - progress_.trained_seconds))
                     : by_steps;
}

/// max_steps, or fewer when max_minutes will end the run before.
int64_t Trainer::expected_steps() const {
  if (parts_.spec.max_minutes <= 0.0 || progress_.step == 0 || progress_.trained_seconds <= 0.0)
    return plan_.max_steps;
  const double per_step = progress_.trained_seconds / static_cast<double>(progress_.step);
  const auto more = static_cast<int64_t>(std::ceil(remaining_seconds() / per_step));
  return std::min(plan_.max_steps, progress_.step + more);
}

Status Trainer::save() {
  saved_at_ = progress_.step;
  if (parts_.group.rank() != 0) return {};
  nlohmann::json metrics{{"step", progress_.step}, {"train_loss", status_.loss}};
  if (last_evaluation_) metrics["eval_loss"] = last_evaluation_->loss;
  const auto path = save_checkpoint(parts_.checkpoints, parts_.spec, parts_.swift, *optimizer_,
                                    progress_, metrics);
  if (!path) return fail(path.error());
  checkpoint_ = *path;
  log::info("saved " + checkpoint_.string());
  const nlohmann::json data{
      {"path", checkpoint_.string()}, {"step", progress_.step}, {"metrics", metrics}};
  parts_.reporter.tell(
      {"info", "checkpoint", "saved checkpoint-" + std::to_string(progress_.step), data.dump()});
  return {};
}

nlohmann::json Trainer::result(const std::string& stopped_by) const {
  nlohmann::json digests = nlohmann::json::array();
  for (const uint64_t digest : parts_.group.all_gather(collective::bits_digest(registered_))) {
    digests.push_back(std::to_string(digest));
  }
  const auto steps = static_cast<double>(std::max<int64_t>(1, progress_.step));
  const bool evaluated = last_evaluation_ && evaluated_at_ == progress_.step;
  return {
      {"checkpoint", checkpoint_.string()},
      {"step", progress_.step},
      {"max_steps", plan_.max_steps},
      {"trained_tokens", progress_.trained_tokens},
      {"train_loss", progress_.train_loss_sum / steps},
      {"eval_loss_before",
       progress_.has_eval_before ? nlohmann::json(progress_.eval_loss_before) : nlohmann::json()},
      {"eval_loss", evaluated ? nlohmann::json(last_evaluation_->loss) : nlohmann::json()},
      {"tokens_per_s", timed_seconds_ > 0.0 ? total_tokens_ / timed_seconds_ : 0.0},
      {"seconds", seconds_since(started_)},
      {"stopped_by", stopped_by},
      {"adapters", parts_.swift.adapter_names()},
      {"trainable_parameters", registered_.numel()},
      {"rank_digests", digests}};
}

}  // namespace tunefleet::trainer
