#include "tuners/peft_files.h"

#include <c10/util/StringUtil.h>

#include "storage/atomic_file.h"
#include "tuners/adapter_files.h"

namespace tunefleet::tuners {

std::string peft_key(std::string_view plain_key) {
  return "base_model.model." + std::string(plain_key);
}

std::filesystem::path peft_folder(const std::filesystem::path& root, const std::string& name) {
  return name == "default" ? root : root / name;
}

std::string peft_model_card(const std::string& base_model) {
  return c10::str(
      "---\nbase_model: '", base_model,
      "'\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- 'base_model:adapter:",
      base_model, "'\n- lora\n- transformers\n---\n\n# Adapter for ", base_model,
      "\n\n### Framework versions\n\n- PEFT ", std::string(kPeftVersion));
}

bool has_peft_files(const Adapter& adapter) {
  return !adapter.options().schema().peft_type.empty();
}

Status save_peft(const SwiftModel& model, const std::filesystem::path& directory,
                 const std::vector<std::string>& names) {
  auto adapters = adapters_named(model, names);
  if (!adapters) return fail(adapters.error());
  if (names.empty()) {
    std::erase_if(*adapters, [](const Adapter* each) { return !has_peft_files(*each); });
    if (adapters->empty()) return {};
  }
  for (const Adapter* adapter : *adapters) {
    if (has_peft_files(*adapter)) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("PEFT has no such tuner, save it in ms-swift's layout: ", adapter->name(),
                         " (", std::string(adapter->options().schema().name), ")"));
  }
  if (auto status = make_directory(directory); !status) return status;
  for (const Adapter* adapter : *adapters) {
    auto status =
        write_adapter(model, *adapter, FileLayout::kPeft, peft_folder(directory, adapter->name()));
    if (!status) return status;
  }
  return storage::write_file_atomically(directory / "README.md",
                                        peft_model_card(model.base().name_or_path()));
}

}  // namespace tunefleet::tuners
