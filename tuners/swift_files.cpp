#include "tuners/swift_files.h"

#include <c10/util/StringUtil.h>

#include <system_error>

#include "storage/atomic_file.h"
#include "tuners/adapter_files.h"

namespace tunefleet::tuners {
namespace {

std::string model_card(const BaseModel& base) {
  return c10::str("---\nbase_model: '", base.name_or_path(),
                  "'\nlibrary_name: ms-swift\ntags:\n- lora\n---\n\n", "# Tuners for ",
                  base.name_or_path(),
                  "\n\nOne folder for each tuner, in ms-swift's layout: load them with "
                  "`Swift.from_pretrained`, or "
                  "convert LoRA with `Swift.save_to_peft_format`.\n");
}

}  // namespace

Status save_swift(const SwiftModel& model, const std::filesystem::path& directory,
                  const std::vector<std::string>& names, WeightsForm form) {
  auto adapters = adapters_named(model, names);
  if (!adapters) return fail(adapters.error());
  if (auto status = make_directory(directory); !status) return status;
  for (const Adapter* adapter : *adapters) {
    auto status =
        write_adapter(model, *adapter, FileLayout::kSwift, directory / adapter->name(), form);
    if (!status) return status;
  }
  std::error_code ignored;
  if (!std::filesystem::exists(directory / "configuration.json", ignored)) {
    if (auto status = storage::write_file_atomically(directory / "configuration.json", "{}");
        !status)
      return status;
  }
  return storage::write_file_atomically(directory / "README.md", model_card(model.base()));
}

Status SwiftModel::save_pretrained(const std::filesystem::path& save_directory,
                                   bool safe_serialization,
                                   const std::vector<std::string>& adapter_names) const {
  const auto lock = guard();
  return save_swift(*this, save_directory, adapter_names,
                    safe_serialization ? WeightsForm::kSafetensors : WeightsForm::kPickle);
}

}  // namespace tunefleet::tuners
