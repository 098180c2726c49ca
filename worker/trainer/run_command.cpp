#include "worker/trainer/run_command.h"

#include <c10/core/Device.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

#include "proto/job_spec_parser.h"
#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/model_store.h"
#include "tuners/config/full_options.h"
#include "tuners/config/job_options.h"
#include "tuners/swift.h"
#include "worker/collective/counted_group.h"
#include "worker/collective/cuda_plugin.h"
#include "worker/collective/group.h"
#include "worker/trainer/device.h"
#include "worker/trainer/model_setup.h"
#include "worker/trainer/prompt_text.h"
#include "worker/trainer/stop_signal.h"
#include "worker/trainer/stored_tuners.h"
#include "worker/trainer/trainer.h"

namespace tunefleet::trainer {
namespace {

constexpr int kStoppedExitCode = 143;
constexpr std::chrono::milliseconds kReportLimit{5000};

/// What this process is and where it writes, known before anything can fail.
struct Run {
  JobSpec spec;
  std::filesystem::path output;
  std::atomic<uint64_t> collectives = 0;  ///< Entered by `group`, told by `reporter`.
  std::unique_ptr<collective::Group> group;
  std::unique_ptr<Reporter> reporter;
};

int64_t attempt_from_environment() {
  const char* value = std::getenv("TUNEFLEET_ATTEMPT");
  return value == nullptr ? 0 : std::strtoll(value, nullptr, 10);
}

Status check_world(const JobSpec& spec, const collective::Group& group) {
  if (spec.workers.min <= group.size() && group.size() <= spec.workers.max) return {};
  const std::string wanted = range_text(spec.workers);
  return fail(
      ErrorCode::kInvalidArgument,
      "the job wants workers: " + wanted + ", but " + std::to_string(group.size()) +
          (group.size() == 1
               ? " rank was started; start it with mpirun -np " + std::to_string(spec.workers.min) +
                     ", through the service, or with --set workers=1"
               : " ranks were started; use --set workers=" + std::to_string(group.size())));
}

Status write_text(const std::filesystem::path& path, const nlohmann::json& value) {
  return storage::write_file_atomically(path, value.dump(2) + "\n");
}

/// Puts new tuners on the model, which lies in `directory`.
Status add_tuners(const tuners::NamedOptions& tuners, const std::filesystem::path& directory,
                  tuners::SwiftModel& swift) {
  for (const auto& [name, options] : tuners) {
    const auto ready = with_text_ids(options, directory);
    if (!ready) return fail("adapter " + name, ready.error());
    if (auto status = swift.add_adapter(name, *ready); !status) return status;
  }
  return {};
}

/// Puts the job's tuners on the model: those of a checkpoint to resume, or given ones and new ones.
/// What full tuning has beside it, and the noise of neftune_noise_alpha, is in no checkpoint.
Status attach(const JobSpec& spec, const std::optional<std::filesystem::path>& resume,
              const tuners::RunFacts& facts, const std::filesystem::path& model_directory,
              tuners::SwiftModel& swift) {
  const bool full = spec.tuner_type == "full";
  if (full) {
    const auto options = tuners::full_options_from_job(spec);
    if (auto status = attach_full(swift, options, resume, /*trainable=*/true); !status)
      return status;
  }
  auto tuners = tuners::tuner_options_of_job(spec, facts);
  if (!tuners) return fail(tuners.error());
  if (resume && !full) {
    if (auto status = tuners::Swift::from_pretrained(swift, *resume); !status) return status;
    if (auto status = check_stored_tuners(spec, *tuners, swift, "resume_from_checkpoint"); !status)
      return status;
    std::erase_if(*tuners, [&](const auto& each) {
      return !spec.neftune_noise_alpha || each.first != "neftune" ||
             swift.find_adapter(each.first) != nullptr;
    });
    return add_tuners(*tuners, model_directory, swift);
  }
  for (const auto& adapter : spec.adapters) {
    if (auto status = tuners::Swift::from_pretrained(swift, adapter); !status)
      return fail("adapters", status.error());
  }
  if (auto status = check_started_tuners(spec, facts, swift); !status) return status;
  return add_tuners(*tuners, model_directory, swift);
}

Result<nlohmann::json> train(Run& run, const std::filesystem::path& model_directory) {
  auto& group = *run.group;
  const bool first = group.rank() == 0;
  auto model = load_base(model_directory, run.spec.torch_dtype.value_or(""), run.spec.device,
                         group.local_rank());
  if (!model) return fail(model.error());
  std::optional<std::filesystem::path> resume;
  if (run.spec.resume_from_checkpoint) {
    auto found = find_checkpoint(*run.spec.resume_from_checkpoint, run.output);
    if (!found) return fail(found.error());
    resume = *found;
    if (auto status = check_base_of_checkpoint(*resume, run.spec, model_directory); !status)
      return fail(status.error());
  }
  tuners::SwiftModel swift(**model, static_cast<uint64_t>(run.spec.seed));
  const auto data = load_training_data(run.spec, model_directory, (*model)->config());
  if (!data) return fail(data.error());
  const auto plan = make_run_plan(run.spec, data->rows(), group.size());
  const tuners::RunFacts facts{.hidden_size = (*model)->config().hidden_size,
                               .max_steps = plan.max_steps};
  if (auto status = attach(run.spec, resume, facts, model_directory, swift); !status)
    return fail(status.error());
  if (swift.trainable_set().tensors.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "nothing would train: NEFTune, for one, goes beside another tuner, by "
                "neftune_noise_alpha or under tuners");
  }
  if (first) {
    for (const auto& note : data->notes) log::info(note);
    const auto device_bytes = static_cast<double>(peak_device_bytes((*model)->device()));
    log::info(swift.get_trainable_parameters(device_bytes / 0x1p30));
  }
  auto log = TrainingLog::open(first ? run.output : std::filesystem::path());
  if (!log) return fail(log.error());
  const CheckpointContext checkpoints{
      run.output, attempt_from_environment(), group.size(), model_directory, {}};
  Trainer trainer({run.spec, **model, swift, *data, group, *run.reporter, *log, checkpoints}, plan);
  if (resume) {
    if (auto status = trainer.resume(*resume); !status) return fail(status.error());
  }
  auto result = trainer.run();
  if (!result) return result;
  if (first) {
    if (auto status = write_text(run.output / "result.json", *result); !status)
      return fail(status.error());
  }
  return result;
}

/// Errors of tensor code as ours.
Result<nlohmann::json> train_without_exceptions(Run& run, const std::filesystem::path& model) {
  try {
    return train(run, model);
  } catch (const c10::OutOfMemoryError& e) {
    return fail(ErrorCode::kResourceExhausted,
                std::string("out of GPU memory: ") + e.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kResourceExhausted, "out of memory");
  } catch (const c10::Error& e) {
    return fail(ErrorCode::kInternal, e.what_without_backtrace());
  } catch (const std::invalid_argument& e) {
    return fail(ErrorCode::kInvalidArgument, e.what());
  } catch (const std::exception& e) {
    return fail(ErrorCode::kInternal, e.what());
  }
}

/// Where the agent that started this rank looks for its last words.
std::filesystem::path exit_directory(const Run& run) {
  const char* told = std::getenv("TUNEFLEET_EXIT_DIR");
  return told == nullptr || *told == '\0' ? run.output / "exit" : std::filesystem::path(told);
}

void write_error(const Run& run, int rank, const Error& error) {
  if (run.output.empty()) return;
  const auto directory = exit_directory(run);
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  const nlohmann::json value{{"code", error_code_name(error.code)}, {"message", error.message}};
  if (auto status = write_text(directory / (std::to_string(rank) + ".error.json"), value);
      !status) {
    log::error(status.error().message);
  }
}

/// A relative path that is not there from here but is beside the job file means the one beside it.
void find_beside(const std::filesystem::path& job, std::vector<std::string>& paths) {
  for (auto& path : paths) {
    const auto beside = job.parent_path() / path;
    if (!std::filesystem::exists(path) && std::filesystem::exists(beside)) path = beside.string();
  }
}

Status prepare(const RunRequest& request, Run& run, std::filesystem::path& model) {
  auto spec = load_job_file(request.job, request.settings, tuners::check_tuners);
  if (!spec) return fail(spec.error());
  run.spec = *std::move(spec);
  for (auto* paths : {&run.spec.dataset, &run.spec.val_dataset, &run.spec.adapters})
    find_beside(request.job, *paths);
  run.output =
      !request.output_dir.empty() ? request.output_dir : std::filesystem::path(run.spec.output_dir);
  if (run.output.empty())
    run.output = std::filesystem::path("output") / std::filesystem::path(run.spec.model).filename();
  std::error_code error;
  std::filesystem::create_directories(run.output, error);
  if (error)
    return fail(ErrorCode::kPermissionDenied, "cannot make the output directory: " +
                                                  run.output.string() + ", " + error.message());
  run.output = std::filesystem::canonical(run.output);
  const char* models = std::getenv("TUNEFLEET_MODELS");
  auto found = storage::resolve_model(models == nullptr ? "." : models, run.spec.model,
                                      storage::ModelPaths::kPathsAllowed);
  if (!found) return fail(found.error());
  model = *std::move(found);
  return {};
}

Status join_group(Run& run) {
  const bool cuda =
      run.spec.device == "cuda" || (run.spec.device == "auto" && collective::cuda_available());
  try {
    run.group = collective::count_calls(collective::make_group({.cuda = cuda}), run.collectives);
  } catch (const c10::Error& e) {
    return fail(ErrorCode::kUnavailable, e.what_without_backtrace());
  }
  set_threads(run.group->local_size());
  if (auto status = check_world(run.spec, *run.group); !status) return status;
  auto reporter = make_reporter(run.group->rank(), run.group->size(), &run.collectives);
  if (!reporter) return fail(reporter.error());
  run.reporter = *std::move(reporter);
  run.reporter->update({});
  return {};
}

/// Says what failed; when there are other ranks, ends them too, since they would wait for this one.
int failed(Run& run, const Error& error) {
  log::error(error.message);
  const int code = exit_code_of(error);
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  write_error(run, run.group ? run.group->rank() : (rank == nullptr ? 0 : std::atoi(rank)), error);
  if (run.reporter) run.reporter->finish(kReportLimit);
  if (run.group && run.group->size() > 1) run.group->abort(code);
  return code;
}

}  // namespace

int exit_code_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kPermissionDenied:
    case ErrorCode::kDataLoss:
    case ErrorCode::kConflict:
      return 2;
    default:
      return 3;
  }
}

int run_training(const RunRequest& request) {
  catch_stop_signals();
  Run run;
  std::filesystem::path model;
  if (auto status = prepare(request, run, model); !status) return failed(run, status.error());
  if (auto status = join_group(run); !status) return failed(run, status.error());
  if (run.group->rank() == 0) {
    if (auto status = write_text(run.output / "args.json", to_json(run.spec)); !status)
      return failed(run, status.error());
  }
  const auto result = train_without_exceptions(run, model);
  if (!result) return failed(run, result.error());
  run.reporter->finish(kReportLimit);
  return (*result)["stopped_by"] == "signal" ? kStoppedExitCode : 0;
}

}  // namespace tunefleet::trainer
