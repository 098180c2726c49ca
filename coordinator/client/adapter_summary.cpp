#include "coordinator/client/adapter_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <system_error>

#include "storage/safetensors.h"
#include "tuners/config/adapter_config.h"
#include "tuners/config/tuner_list.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kPickledWeightsFile = "adapter_model.bin";

/// Last parts of keys whose tensors are saved and never trained: fixed projections. Whole numbers
/// (SHiRA's indices) are not trained either.
constexpr std::array<std::string_view, 6> kFixedTensors{"vera_A",     "vera_B",  "randlora_A",
                                                        "randlora_B", "pvera_A", "pvera_B"};

bool is_trained(const storage::TensorView& tensor) {
  if (storage::dtype_name(tensor.dtype).starts_with('I')) return false;
  return std::none_of(kFixedTensors.begin(), kFixedTensors.end(), [&](std::string_view fixed) {
    return tensor.name.find(std::string(".") + std::string(fixed)) != std::string::npos;
  });
}

int64_t elements(const storage::TensorView& tensor) {
  int64_t count = 1;
  for (const int64_t size : tensor.shape) count *= size;
  return count;
}

/// Adds what the weights file says.
Status add_weights(const fs::path& directory, json& adapter) {
  std::error_code error;
  for (const char* key : {"weights_file", "bytes", "numbers", "trainable_numbers", "tensors"})
    adapter[key] = nullptr;
  const fs::path pickled = directory / kPickledWeightsFile;
  const fs::path path = directory / tuners::kAdapterWeightsFile;
  if (!fs::exists(path, error)) {
    if (!fs::exists(pickled, error)) return {};
    adapter["weights_file"] = kPickledWeightsFile;
    adapter["bytes"] = fs::file_size(pickled, error);
    return {};
  }
  const auto file = storage::SafetensorsFile::open(path);
  if (!file) return fail(file.error());
  int64_t numbers = 0;
  int64_t trained = 0;
  json tensors = json::array();
  for (const auto& tensor : file->tensors()) {
    numbers += elements(tensor);
    if (is_trained(tensor)) trained += elements(tensor);
    tensors.push_back({{"key", tensor.name},
                       {"dtype", storage::dtype_name(tensor.dtype)},
                       {"shape", tensor.shape}});
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const json& a, const json& b) { return a["key"] < b["key"]; });
  adapter["weights_file"] = tuners::kAdapterWeightsFile;
  adapter["bytes"] = fs::file_size(path, error);
  adapter["numbers"] = numbers;
  adapter["trainable_numbers"] = trained;
  adapter["tensors"] = std::move(tensors);
  return {};
}

void add_options(const tuners::TunerOptions& options, json& adapter) {
  const auto& schema = options.schema();
  const tuners::TunerOptions defaults(schema, schema.make());
  json all = json::object();
  json set = json::object();
  for (const auto& option : schema.options) {
    const std::string key(option.key);
    all[key] = json::parse(tuners::option_json(options, option));
    if (all[key] != json::parse(tuners::option_json(defaults, option))) set[key] = all[key];
  }
  adapter["base_model"] = all.value("base_model_name_or_path", json());
  for (const char* origin : {"base_model_name_or_path", "revision", "task_type"}) set.erase(origin);
  adapter["options"] = std::move(all);
  adapter["set_options"] = std::move(set);
}

json or_null(const std::string& text) { return text.empty() ? json() : json(text); }

/// By path, numbers in names by their value: checkpoint-9 before checkpoint-10.
bool stands_before(const fs::path& a, const fs::path& b) {
  const auto number = [](const std::string& text) {
    const size_t digits = text.find_last_not_of("0123456789") + 1;
    return std::pair(text.substr(0, digits), text.size() - digits);
  };
  const std::string x = a.string();
  const std::string y = b.string();
  const auto [text_x, digits_x] = number(x);
  const auto [text_y, digits_y] = number(y);
  if (text_x == text_y && digits_x != digits_y) return digits_x < digits_y;
  return x < y;
}

}  // namespace

Result<json> adapter_json(const tuners::StoredAdapter& stored) {
  const std::string file = (stored.directory / tuners::kAdapterConfigFile).string();
  const auto schema = tuners::find_tuner_schema(stored.kind);
  if (!schema) return fail(file, schema.error());
  const auto read = tuners::read_options(**schema, stored.config_text, file);
  if (!read) return fail(read.error());
  json adapter{{"name", stored.name},
               {"directory", stored.directory.string()},
               {"tuner", (*schema)->name},
               {"peft_type", or_null(stored.kind.peft_type)},
               {"swift_type", or_null(stored.kind.swift_type)},
               {"layout", stored.kind.swift_type.empty() ? "peft" : "ms-swift"},
               {"warnings", read->warnings}};
  add_options(read->options, adapter);
  if (auto status = add_weights(stored.directory, adapter); !status) return fail(status.error());
  return adapter;
}

Result<std::vector<tuners::StoredAdapter>> find_adapters(const fs::path& directory) {
  auto here = tuners::list_adapters(directory);
  if (here || here.error().code != ErrorCode::kNotFound) return here;
  std::error_code error;
  std::vector<fs::path> folders;
  for (const auto& item : fs::directory_iterator(directory, error)) {
    if (item.is_directory(error) && !item.is_symlink(error)) folders.push_back(item.path());
  }
  std::sort(folders.begin(), folders.end(), stands_before);
  std::vector<tuners::StoredAdapter> found;
  for (const auto& folder : folders) {
    auto inside = tuners::list_adapters(folder);
    if (!inside && inside.error().code == ErrorCode::kNotFound) continue;
    if (!inside) return fail(inside.error());
    std::move(inside->begin(), inside->end(), std::back_inserter(found));
  }
  if (found.empty()) return here;
  return found;
}

}  // namespace tunefleet::coordinator
