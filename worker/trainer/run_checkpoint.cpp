#include "worker/trainer/run_checkpoint.h"

#include <ATen/core/grad_mode.h>

#include <stdexcept>
#include <utility>
#include <vector>

#include "storage/atomic_file.h"
#include "storage/checkpoint.h"
#include "storage/model_store.h"
#include "storage/safetensors.h"
#include "tuners/adapter_files.h"
#include "tuners/full_adapter.h"
#include "tuners/model_files.h"
#include "tuners/peft_files.h"
#include "tuners/swift_files.h"
#include "tuners/tensor_io.h"
#include "worker/trainer/saved_state.h"

namespace tunefleet::trainer {
namespace {

constexpr uint64_t kMaxStateBytes = 1 << 20;
constexpr const char* kTunersFile = "tuners.safetensors";  ///< Of state/.

nlohmann::json to_json(const RunProgress& p) {
  return {{"step", p.step},
          {"trained_tokens", p.trained_tokens},
          {"eval_loss_before",
           p.has_eval_before ? nlohmann::json(p.eval_loss_before) : nlohmann::json()},
          {"train_loss_sum", p.train_loss_sum},
          {"trained_seconds", p.trained_seconds}};
}

Result<RunProgress> progress_from(const std::filesystem::path& path) {
  const auto text = storage::read_small_file(path, kMaxStateBytes);
  if (!text) return fail(text.error());
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  RunProgress p;
  try {
    json.at("step").get_to(p.step);
    json.at("trained_tokens").get_to(p.trained_tokens);
    json.at("train_loss_sum").get_to(p.train_loss_sum);
    json.at("trained_seconds").get_to(p.trained_seconds);
    p.has_eval_before = !json.at("eval_loss_before").is_null();
    if (p.has_eval_before) json.at("eval_loss_before").get_to(p.eval_loss_before);
  } catch (const nlohmann::json::exception& e) {
    return fail(ErrorCode::kDataLoss, "not a trainer state: " + path.string() + ", " + e.what());
  }
  return p;
}

using NamedTensors = Optimizer::NamedTensors;

Status write_tensors(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::vector<at::Tensor> kept;
  std::vector<storage::TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    kept.push_back(tensor.detach().cpu().contiguous());
    views.push_back(tuners::view_of(name, kept.back()));
  }
  return storage::write_safetensors(path, views, {{"format", "pt"}});
}

Status write_state(const std::filesystem::path& directory, const tuners::SwiftModel& model,
                   const Optimizer& optimizer, const RunProgress& progress) {
  if (auto status = tuners::make_directory(directory); !status) return status;
  if (auto status = write_tensors(directory / "optimizer.safetensors", optimizer.state()); !status)
    return status;
  NamedTensors own;
  for (const auto& entry : model.state()) own.emplace_back(entry.path, entry.tensor);
  if (!own.empty()) {
    if (auto status = write_tensors(directory / kTunersFile, own); !status) return status;
  }
  return storage::write_file_atomically(directory / "trainer_state.json",
                                        to_json(progress).dump(2));
}

/// The adapter of full tuning; null when adapters of other kinds train.
const tuners::FullAdapter* full_adapter(const tuners::SwiftModel& model) {
  for (const auto& name : model.adapter_names()) {
    if (const auto* full = dynamic_cast<const tuners::FullAdapter*>(model.find_adapter(name)))
      return full;
  }
  return nullptr;
}

/// Every adapter but the noise that a key of the job asks for: a run that goes on has the key too.
std::vector<std::string> adapters_to_write(const JobSpec& spec, const tuners::SwiftModel& model) {
  auto names = model.adapter_names();
  if (spec.neftune_noise_alpha) std::erase(names, "neftune");
  return names;
}

Status write_model(const std::filesystem::path& directory, const std::filesystem::path& base_model,
                   const JobSpec& spec, const tuners::SwiftModel& model) {
  if (const auto* full = full_adapter(model)) {
    return tuners::save_model(
        model.base(), [full](const auto& slot) { return full->value_of(slot); }, base_model,
        directory);
  }
  if (auto status = tuners::save_swift(model, directory, adapters_to_write(spec, model)); !status)
    return status;
  return tuners::save_peft(model, directory / "peft");
}

Status fill(const std::filesystem::path& directory, const std::filesystem::path& base_model,
            const JobSpec& spec, const tuners::SwiftModel& model, const Optimizer& optimizer,
            const RunProgress& progress) {
  if (auto status = write_model(directory, base_model, spec, model); !status) return status;
  if (auto status = storage::write_file_atomically(directory / "args.json", to_json(spec).dump(2));
      !status) {
    return status;
  }
  if (spec.save_only_model) return {};
  return write_state(directory / "state", model, optimizer, progress);
}

Result<NamedTensors> read_tensors(const std::filesystem::path& path) {
  const auto file = storage::SafetensorsFile::open(path);
  if (!file) return fail(file.error());
  NamedTensors tensors;
  for (const auto& view : file->tensors())
    tensors.emplace_back(view.name, tuners::copy_tensor(view));
  return tensors;
}

/// Fills what the tuners keep beside their files.
Status load_tuners(const std::filesystem::path& path, tuners::SwiftModel& model) {
  const auto wanted = model.state();
  if (!wanted.empty()) {
    const auto tensors = read_tensors(path);
    if (!tensors) return fail(tensors.error());
    const at::NoGradGuard no_grad;
    SavedState saved(*tensors);
    for (const auto& entry : wanted) {
      auto target = entry.tensor;
      target.copy_(saved.take(entry.path, entry.tensor.sizes(), entry.tensor.device()));
    }
    saved.check_all_taken();
  }
  model.loaded();
  return {};
}

}  // namespace

Result<std::filesystem::path> save_checkpoint(CheckpointContext& context, const JobSpec& spec,
                                              const tuners::SwiftModel& model,
                                              const Optimizer& optimizer,
                                              const RunProgress& progress,
                                              const nlohmann::json& metrics) {
  const std::string what = "saving checkpoint-" + std::to_string(progress.step);
  if (context.base_model_digest.empty()) {
    auto digest = storage::model_digest(context.base_model);
    if (!digest) return fail(what, digest.error());
    context.base_model_digest = *std::move(digest);
  }
  auto writer = storage::CheckpointWriter::begin(context.run,
                                                 {.attempt = context.attempt,
                                                  .world_size = context.world_size,
                                                  .base_model_digest = context.base_model_digest});
  if (!writer) return fail(what, writer.error());
  if (auto status = fill(writer->directory(), context.base_model, spec, model, optimizer, progress);
      !status) {
    return fail(what, status.error());
  }
  auto path = writer->commit(progress.step, metrics);
  if (!path) return fail(what, path.error());
  if (spec.save_total_limit) {
    const auto pruned =
        storage::prune_checkpoints(context.run, static_cast<int>(*spec.save_total_limit));
    if (!pruned) return fail("removing old checkpoints", pruned.error());
  }
  return *path;
}

Result<std::filesystem::path> find_checkpoint(const std::string& wanted,
                                              const std::filesystem::path& run) {
  if (wanted == "latest") {
    auto newest = storage::newest_checkpoint(run);
    if (!newest) return fail(newest.error());
    if (!*newest)
      return fail(ErrorCode::kNotFound, "no checkpoint to resume from in " + run.string());
    return **newest;
  }
  const auto manifest = storage::verify_checkpoint(wanted);
  if (!manifest) return fail("resume_from_checkpoint", manifest.error());
  return std::filesystem::path(wanted);
}

Result<RunProgress> load_run_state(const std::filesystem::path& checkpoint, Optimizer& optimizer,
                                   tuners::SwiftModel& model) {
  const auto state = checkpoint / "state";
  if (!std::filesystem::exists(state)) {
    return fail(ErrorCode::kInvalidArgument,
                "the checkpoint was saved without its state (save_only_model), it can only "
                "be started from: name it under adapters instead (after full tuning, under "
                "model): " +
                    checkpoint.string());
  }
  auto progress = progress_from(state / "trainer_state.json");
  if (!progress) return progress;
  const auto tensors = read_tensors(state / "optimizer.safetensors");
  if (!tensors) return fail(tensors.error());
  try {
    optimizer.load(*tensors);
    if (auto status = load_tuners(state / kTunersFile, model); !status) return fail(status.error());
  } catch (const std::invalid_argument& e) {
    return fail(ErrorCode::kInvalidArgument, std::string(e.what()) + ", " + state.string());
  }
  return progress;
}

}  // namespace tunefleet::trainer
