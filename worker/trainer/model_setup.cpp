#include "worker/trainer/model_setup.h"

#include "tuners/adapter_files.h"
#include "tuners/full_adapter.h"
#include "tuners/swift.h"
#include "worker/trainer/device.h"

namespace tunefleet::trainer {
namespace {

/// Whether a checkpoint is what full tuning saves: a model instead of adapters.
bool is_whole_model(const std::filesystem::path& directory) {
  return std::filesystem::exists(directory / "config.json") &&
         !std::filesystem::exists(directory / tuners::kAdapterConfigFile);
}

}  // namespace

Result<std::unique_ptr<models::Decoder>> load_base(const std::filesystem::path& directory,
                                                   const std::string& dtype,
                                                   const std::string& device, int local_rank) {
  if (directory.extension() == ".gguf") {
    return fail(
        ErrorCode::kInvalidArgument,
        "a GGUF file must be imported first: tunefleet models import " + directory.string());
  }
  if (!std::filesystem::exists(directory / "config.json")) {
    return fail(ErrorCode::kNotFound, "no such model: " + directory.string() +
                                          " (a Hugging Face directory with config.json is wanted)");
  }
  const auto config = models::load_model_config(directory);
  if (!config) return fail(config.error());
  const auto type = choose_dtype(dtype, *config);
  if (!type) return fail(type.error());
  const auto where = choose_device(device, local_rank);
  if (!where) return fail(where.error());
  return models::Decoder::load(directory, {.dtype = *type, .device = *where});
}

Result<std::unique_ptr<tuners::SwiftModel>> attach_adapters(models::Decoder& model,
                                                            const std::string& directory) {
  auto swift = std::make_unique<tuners::SwiftModel>(model);
  if (directory.empty()) return swift;
  if (is_whole_model(directory)) {
    if (auto status = attach_full(*swift, {}, directory, /*trainable=*/false); !status)
      return fail(status.error());
    return swift;
  }
  if (auto status = tuners::Swift::from_pretrained(*swift, directory, {}, /*trainable=*/false);
      !status) {
    return fail(status.error());
  }
  return swift;
}

Status attach_full(tuners::SwiftModel& swift, const tuners::FullOptions& options,
                   const std::optional<std::filesystem::path>& values, bool trainable) {
  auto adapter = tuners::FullAdapter::make(options, {.base = swift.base(), .name = "default"});
  if (!adapter) return fail("full tuning", adapter.error());
  if (values) {
    if (auto status = (*adapter)->load(*values); !status) return status;
  }
  return swift.add_adapter(*std::move(adapter), trainable);
}

}  // namespace tunefleet::trainer
