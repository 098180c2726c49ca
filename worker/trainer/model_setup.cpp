#include "worker/trainer/model_setup.h"

#include <c10/util/StringUtil.h>

#include <map>

#include "proto/log.h"
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
  const auto names = add_adapters(*swift, directory, "");
  if (!names) return fail(names.error());
  if (names->size() > 1)
    log::info(c10::str("adapters that act together: ", c10::Join(", ", *names)));
  return swift;
}

Result<std::vector<std::string>> add_adapters(tuners::SwiftModel& swift,
                                              const std::filesystem::path& directory,
                                              const std::string& prefix) {
  if (is_whole_model(directory)) {
    const std::string name = prefix + "default";
    if (auto status = attach_full(swift, {}, directory, /*trainable=*/false, name); !status)
      return fail(status.error());
    return std::vector{name};
  }
  const auto stored = tuners::list_adapters(directory);
  if (!stored) return fail(stored.error());
  std::vector<std::string> names;
  std::map<std::string, std::string> renamed;
  for (const auto& each : *stored) {
    names.push_back(prefix + each.name);
    renamed.emplace(each.name, names.back());
  }
  if (auto status = tuners::Swift::from_pretrained(swift, directory, renamed, /*trainable=*/false);
      !status) {
    return fail(status.error());
  }
  return names;
}

Status attach_full(tuners::SwiftModel& swift, const tuners::FullOptions& options,
                   const std::optional<std::filesystem::path>& values, bool trainable,
                   const std::string& name) {
  auto adapter = tuners::FullAdapter::make(options, {.base = swift.base(), .name = name});
  if (!adapter) return fail("full tuning", adapter.error());
  if (values) {
    if (auto status = (*adapter)->load(*values); !status) return status;
  }
  return swift.add_adapter(*std::move(adapter), trainable);
}

}  // namespace tunefleet::trainer
