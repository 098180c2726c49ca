#include "tuners/adapter_files.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "storage/atomic_file.h"
#include "tuners/config/target_match.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPeftPrefix = "base_model.model.";
constexpr std::string_view kSharedPrefix = "base_model.";
const std::string kLayersKey = "num_hidden_layers";

/// The file's tensors by their plain key.
using StoredTensors = std::map<std::string, const NamedTensor*>;

Error bad(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

/// PEFT writes some tensors twice or with the originals beside them when biases and modules_to_save
/// meet.
Result<StoredTensors> index_tensors(const AdapterWeights& file, const std::string& name) {
  StoredTensors stored;
  for (const auto& each : file.tensors()) {
    if (each.key.find(".original_module.") != std::string::npos) continue;
    const auto [place, is_new] = stored.emplace(plain_key(each.key, name), &each);
    const auto& other = *place->second;
    if (is_new || (other.tensor.sizes() == each.tensor.sizes() &&
                   other.tensor.scalar_type() == each.tensor.scalar_type() &&
                   at::equal(other.tensor, each.tensor)))
      continue;
    return fail(bad(c10::str("two tensors of the file stand for the same one: ", other.key, ", ",
                             each.key, ", ", file.path().string())));
  }
  return stored;
}

Status set_tensor(const AdapterTensor& target, const NamedTensor& stored, const std::string& file) {
  const at::Tensor& value = stored.tensor;
  if (value.sizes() != target.tensor.sizes()) {
    return fail(bad(c10::str("tensor has the wrong shape for this model: ", stored.key, ", ",
                             shape_text(value.sizes()), " instead of ",
                             shape_text(target.tensor.sizes()), ", ", file)));
  }
  const bool is_number = target.tensor.is_floating_point();
  if (is_number && !value.is_floating_point()) {
    return fail(bad(c10::str("tensor is not of floating-point numbers: ", stored.key, ", ",
                             std::string(c10::toString(value.scalar_type())), ", ", file)));
  }
  if (is_number && !at::isfinite(value).all().item<bool>()) {
    return fail(bad(c10::str("tensor has values that are not finite: ", stored.key, ", ", file)));
  }
  at::Tensor tensor = target.tensor;
  tensor.copy_(value);
  return {};
}

/// PEFT saves whole embeddings beside an adapter that targets them, or after a change of the
/// vocabulary.
Status check_base_copy(const std::string& key, const NamedTensor& stored, BaseModel& base,
                       const std::vector<std::string>& known, const std::string& file) {
  std::string path = key;
  const size_t wrapped = path.rfind(".base_layer.");
  if (wrapped != std::string::npos) path.erase(wrapped, std::strlen(".base_layer"));
  for (const ParameterSlot* slot : base.parameters()) {
    if (slot->path != path || !slot->base.defined()) continue;
    const at::Tensor& value = stored.tensor;
    if (value.sizes() == slot->base.sizes() &&
        at::equal(value.to(slot->base.scalar_type()), slot->base.to(value.device()))) {
      return {};
    }
    return fail(bad(c10::str(
        "the adapter brings its own copy of a base weight, and this base's differs (another "
        "base, or a changed vocabulary?): ",
        stored.key, ", ", shape_text(value.sizes()), " and ", shape_text(slot->base.sizes()), ", ",
        file)));
  }
  return fail(bad(c10::str(
      "unexpected tensor, the adapter's configuration asks for none of that name; nearest ",
      c10::Join(", ", nearest_names(key, known, 2)), ": ", stored.key, ", ", file)));
}

}  // namespace

std::string plain_key(std::string_view key, const std::string& adapter_name) {
  if (key.starts_with(kPeftPrefix)) {
    key.remove_prefix(kPeftPrefix.size());
  } else if (key.starts_with(kSharedPrefix)) {
    key.remove_prefix(kSharedPrefix.size());
  }
  std::string plain(key);
  const auto erase = [&](const std::string& what, size_t skip) {
    const size_t at = plain.rfind(what);
    if (at != std::string::npos) plain.erase(at + skip, what.size() - skip - 1);
  };
  for (const std::string part : {".lora_A", ".lora_B"})
    erase(part + "." + adapter_name + ".", part.size());
  erase(".modules_to_save." + adapter_name + ".", 0);
  erase(".modules_to_save.", 0);
  return plain;
}

Status load_weights(Adapter& adapter, const StoredAdapter& stored, BaseModel& base) {
  const auto wanted = adapter.tensors();
  std::error_code ignored;
  const bool has_weights =
      std::any_of(wanted.begin(), wanted.end(), [](const auto& each) { return each.saved; });
  if (!has_weights && !fs::exists(stored.directory / kAdapterWeightsFile, ignored) &&
      !fs::exists(stored.directory / kPickledWeightsFile, ignored)) {
    adapter.loaded();
    return {};
  }
  const auto file = AdapterWeights::open(stored.directory);
  if (!file) return fail(file.error());
  auto tensors = index_tensors(*file, stored.name);
  if (!tensors) return fail(tensors.error());

  const at::NoGradGuard no_grad;
  const auto layout = stored.kind.swift_type.empty() ? FileLayout::kPeft : FileLayout::kSwift;
  std::vector<std::string> known;
  for (const auto& target : wanted) {
    if (!target.saved) continue;
    known.push_back(target.key);
    auto found = tensors->find(plain_key(file_key(target, layout, stored.name), stored.name));
    if (found == tensors->end()) found = tensors->find(target.key);
    if (found == tensors->end() && target.optional) continue;
    if (found == tensors->end()) {
      return fail(bad(c10::str("tensor is missing from the adapter's file: ", target.key, ", ",
                               file->path().string())));
    }
    if (auto status = set_tensor(target, *found->second, file->path().string()); !status)
      return status;
    tensors->erase(found);
  }
  for (const auto& [key, view] : *tensors) {
    if (auto status = check_base_copy(key, *view, base, known, file->path().string()); !status)
      return status;
  }
  try {
    adapter.loaded();
  } catch (const std::invalid_argument& error) {
    return fail(bad(c10::str(error.what(), ", ", file->path().string())));
  }
  return {};
}

std::string file_key(const AdapterTensor& tensor, FileLayout layout,
                     const std::string& adapter_name) {
  if (layout == FileLayout::kPeft) return std::string(tensor.peft_prefix) + tensor.key;
  std::string key = tensor.swift_key.empty() ? tensor.key : tensor.swift_key;
  if (const size_t at = key.find("{}"); at != std::string::npos) key.replace(at, 2, adapter_name);
  return key;
}

std::vector<NamedTensor> file_tensors(const Adapter& adapter, FileLayout layout) {
  const bool for_peft = layout == FileLayout::kPeft;
  if (adapter.options().schema().swift_type.empty()) layout = FileLayout::kPeft;
  std::vector<NamedTensor> tensors;
  for (const auto& entry : adapter.tensors()) {
    if (!entry.saved || (entry.swift_only && for_peft)) continue;
    tensors.push_back({.key = file_key(entry, layout, adapter.name()), .tensor = entry.tensor});
  }
  return tensors;
}

Status make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (!error) return {};
  const auto code = error == std::errc::no_space_on_device  ? ErrorCode::kResourceExhausted
                    : error == std::errc::permission_denied ? ErrorCode::kPermissionDenied
                                                            : ErrorCode::kInvalidArgument;
  return fail(code, c10::str("cannot make directory: ", error.message(), ", ", directory.string()));
}

Status write_adapter_folder(const fs::path& directory, const std::vector<NamedTensor>& tensors,
                            const std::string& config_text, int64_t layers, WeightsForm form) {
  if (auto status = make_directory(directory); !status) return status;
  if (tensors.empty())
    return storage::write_file_atomically(directory / kAdapterConfigFile, config_text);
  if (layers > 0 && form == WeightsForm::kPickle) {
    return fail(
        bad(c10::str("a pickle cannot say for how many layers the adapter is (LLaMA PRO has "
                     "put some in), save it as safetensors: ",
                     directory.string())));
  }
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  if (layers > 0) metadata[kLayersKey] = std::to_string(layers);
  auto status = write_weights(directory, tensors, form, metadata);
  if (!status) return status;
  return storage::write_file_atomically(directory / kAdapterConfigFile, config_text);
}

int64_t stored_layers(const StoredAdapter& stored) {
  std::error_code ignored;
  const fs::path path = stored.directory / kAdapterWeightsFile;
  if (!fs::exists(path, ignored)) return 0;
  const auto file = storage::SafetensorsFile::open(path);
  if (!file || !file->metadata().contains(kLayersKey)) return 0;
  return std::strtoll(file->metadata().at(kLayersKey).c_str(), nullptr, 10);
}

Status write_adapter(const SwiftModel& model, const Adapter& adapter, FileLayout layout,
                     const fs::path& directory, WeightsForm form) {
  return model.with_layers_of(adapter.name(), [&](int64_t layers) {
    return write_adapter_folder(directory, file_tensors(adapter, layout),
                                adapter.config_text(layout), layers, form);
  });
}

}  // namespace tunefleet::tuners
