#include "tuners/swift.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "proto/log.h"
#include "storage/atomic_file.h"
#include "tuners/adapter_files.h"
#include "tuners/config/llama_pro_options.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/tuner_list.h"
#include "tuners/peft_files.h"
#include "tuners/registry.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {
namespace {

namespace fs = std::filesystem;

/// A stored adapter and the name it gets on the model.
struct Selected {
  StoredAdapter stored;
  std::string name;
};

std::map<std::string, std::string> renames(const Swift::AdapterNames& names,
                                           const std::vector<StoredAdapter>& stored) {
  std::map<std::string, std::string> wanted;
  if (const auto* map = std::get_if<std::map<std::string, std::string>>(&names)) return *map;
  if (const auto* one = std::get_if<std::string>(&names)) wanted.emplace(*one, *one);
  if (const auto* list = std::get_if<std::vector<std::string>>(&names)) {
    for (const auto& name : *list) wanted.emplace(name, name);
  }
  if (std::holds_alternative<std::monostate>(names)) {
    for (const auto& each : stored) wanted.emplace(each.name, each.name);
  }
  return wanted;
}

Result<std::vector<Selected>> select(std::vector<StoredAdapter> stored,
                                     const Swift::AdapterNames& names, const fs::path& directory) {
  std::vector<Selected> selected;
  for (const auto& [from, to] : renames(names, stored)) {
    const auto found = std::find_if(stored.begin(), stored.end(),
                                    [&from = from](const auto& each) { return each.name == from; });
    if (found == stored.end()) {
      std::vector<std::string> known;
      for (const auto& each : stored) known.push_back(each.name);
      return fail(ErrorCode::kNotFound,
                  c10::str("no such adapter in the directory, it has [", c10::Join(", ", known),
                           "]: ", from, ", ", directory.string()));
    }
    selected.push_back({.stored = *found, .name = to});
  }
  // What puts layers into the model comes before what may act on them.
  std::stable_partition(selected.begin(), selected.end(), [](const auto& each) {
    return each.stored.kind.swift_type == LlamaProOptions::schema().swift_type;
  });
  return selected;
}

Result<std::unique_ptr<Adapter>> load_adapter(BaseModel& base, const Selected& selected) {
  const StoredAdapter& stored = selected.stored;
  const auto schema = find_tuner_schema(stored.kind);
  if (!schema) return fail(stored.directory.string(), schema.error());
  const auto read =
      read_options(**schema, stored.config_text, (stored.directory / kAdapterConfigFile).string());
  if (!read) return fail(read.error());
  for (const auto& warning : read->warnings) log::warning(warning);
  auto adapter =
      make_adapter(read->options, {.base = base, .name = selected.name, .seed = 0, .fresh = false});
  if (!adapter) return fail(stored.directory.string(), adapter.error());
  if (auto status = load_weights(**adapter, stored, base); !status) return fail(status.error());
  return adapter;
}

/// The directory itself, or the one of that revision in it.
Result<fs::path> revision_directory(const fs::path& directory, const std::string& revision) {
  std::error_code error;
  if (revision.empty()) return directory;
  const bool plain = revision != "." && revision != ".." && revision.find('/') == std::string::npos;
  if (plain && fs::is_directory(directory / revision, error)) return directory / revision;
  std::vector<std::string> known;
  for (const auto& item : fs::directory_iterator(directory, error)) {
    if (item.is_directory(error)) known.push_back(item.path().filename().string());
  }
  std::sort(known.begin(), known.end());
  return fail(ErrorCode::kNotFound,
              c10::str("no such revision in the directory, it has [", c10::Join(", ", known),
                       "]: ", revision, ", ", directory.string()));
}

/// One adapter's files in PEFT's form, still in memory.
struct Converted {
  std::string name;
  std::string config_text;
  std::vector<NamedTensor> tensors;
  WeightsForm form = WeightsForm::kSafetensors;  ///< As it was found.
};

Result<Converted> convert(const StoredAdapter& stored) {
  const std::string file_name = (stored.directory / kAdapterConfigFile).string();
  const auto schema = find_tuner_schema(stored.kind);
  if (!schema || *schema != &LoraOptions::schema()) {
    return fail(ErrorCode::kInvalidArgument,
                c10::str("only LoRA can be converted to PEFT's format: ", stored.kind.swift_type,
                         stored.kind.peft_type, ", ", file_name));
  }
  const auto read = read_options(LoraOptions::schema(), stored.config_text, file_name);
  if (!read) return fail(read.error());
  const auto& options = read->options.as<LoraOptions>();
  if (options.lora_dtype) {
    return fail(
        ErrorCode::kInvalidArgument,
        c10::str(
            "PEFT's format has no place for lora_dtype, delete the field to convert without it: ",
            *options.lora_dtype, ", ", file_name));
  }
  const auto file = AdapterWeights::open(stored.directory);
  if (!file) return fail(file.error());
  Converted converted{.name = stored.name,
                      .config_text = config_text(read->options, FileLayout::kPeft),
                      .tensors = {}};
  converted.form = file->path().filename() == kPickledWeightsFile ? WeightsForm::kPickle
                                                                  : WeightsForm::kSafetensors;
  for (const auto& [key, tensor] : file->tensors()) {
    converted.tensors.push_back(
        {.key = peft_key(plain_key(key, stored.name)), .tensor = tensor.clone()});
  }
  return converted;
}

std::string base_model_of(const StoredAdapter& stored) {
  const auto read = read_options(LoraOptions::schema(), stored.config_text, "");
  return read ? read->options.as<LoraOptions>().base_model_name_or_path.value_or("") : "";
}

}  // namespace

Result<std::unique_ptr<SwiftModel>> Swift::prepare_model(BaseModel& base,
                                                         const TunerOptions& options,
                                                         uint64_t seed) {
  return prepare_model(base, std::map<std::string, TunerOptions>{{"default", options}}, seed);
}

Result<std::unique_ptr<SwiftModel>> Swift::prepare_model(
    BaseModel& base, const std::map<std::string, TunerOptions>& options, uint64_t seed) {
  auto model = std::make_unique<SwiftModel>(base, seed);
  if (auto status = prepare_model(*model, options); !status) return fail(status.error());
  return model;
}

Status Swift::prepare_model(SwiftModel& model, const TunerOptions& options) {
  return model.add_adapter("default", options);
}

Status Swift::prepare_model(SwiftModel& model, const std::map<std::string, TunerOptions>& options) {
  for (const auto& [name, each] : options) {
    if (auto status = model.add_adapter(name, each); !status) return status;
  }
  return {};
}

Status Swift::from_pretrained(SwiftModel& model, const fs::path& model_id,
                              const AdapterNames& names, bool trainable,
                              const std::string& revision) {
  const auto found = revision_directory(model_id, revision);
  if (!found) return fail(found.error());
  const fs::path& directory = *found;
  auto stored = list_adapters(directory);
  if (!stored) return fail(stored.error());
  const auto selected = select(*std::move(stored), names, directory);
  if (!selected) return fail(selected.error());
  std::vector<std::string> added;
  for (const auto& each : *selected) {
    auto status = model.add_adapter([&] { return load_adapter(model.base(), each); },
                                    stored_layers(each.stored), trainable);
    if (status) {
      added.push_back(each.name);
      continue;
    }
    for (auto before = added.rbegin(); before != added.rend(); ++before)
      std::ignore = model.delete_adapter(*before);
    return status;
  }
  return {};
}

Result<std::unique_ptr<SwiftModel>> Swift::from_pretrained(BaseModel& base,
                                                           const fs::path& directory,
                                                           const AdapterNames& names,
                                                           bool trainable,
                                                           const std::string& revision) {
  auto model = std::make_unique<SwiftModel>(base);
  if (auto status = from_pretrained(*model, directory, names, trainable, revision); !status)
    return fail(status.error());
  return model;
}

Status Swift::save_to_peft_format(const fs::path& ckpt_dir, const fs::path& output_dir) {
  const auto stored = list_adapters(ckpt_dir);
  if (!stored) return fail(stored.error());
  std::vector<Converted> converted;
  for (const auto& each : *stored) {
    auto one = convert(each);
    if (!one) return fail(one.error());
    converted.push_back(*std::move(one));
  }
  for (const auto& each : converted) {
    auto status = write_adapter_folder(peft_folder(output_dir, each.name), each.tensors,
                                       each.config_text, /*layers=*/0, each.form);
    if (!status) return status;
  }
  std::error_code ignored;
  fs::remove_all(output_dir / "default", ignored);
  return storage::write_file_atomically(output_dir / "README.md",
                                        peft_model_card(base_model_of(stored->front())));
}

}  // namespace tunefleet::tuners
