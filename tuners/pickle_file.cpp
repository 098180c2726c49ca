#include "tuners/pickle_file.h"

#include <ATen/core/Dict.h>
#include <ATen/core/ivalue.h>
#include <c10/util/StringUtil.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/csrc/jit/serialization/pickler.h>

#include <string_view>

#include "storage/atomic_file.h"

namespace tunefleet::tuners {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{8} << 30;

Error bad(const std::filesystem::path& path, const std::string& why) {
  return {ErrorCode::kInvalidArgument,
          c10::str("not a dict of tensors as torch.save writes it: ", why, ", ", path.string())};
}

Result<std::vector<NamedTensor>> tensors_of(const c10::IValue& value,
                                            const std::filesystem::path& path) {
  if (!value.isGenericDict()) return fail(bad(path, value.tagKind()));
  std::vector<NamedTensor> tensors;
  for (const auto& entry : value.toGenericDict()) {
    if (!entry.key().isString()) return fail(bad(path, "a key that is no text"));
    const std::string& name = entry.key().toStringRef();
    if (!entry.value().isTensor()) return fail(bad(path, c10::str(name, " is no tensor")));
    tensors.push_back({.key = name, .tensor = entry.value().toTensor()});
  }
  return tensors;
}

/// The archive that torch.load reads: the pickled dict, and each tensor's bytes in a record of its
/// own. libtorch's pickle_save would tag the dict with TorchScript's type, which
/// torch.load(weights_only=True) refuses.
std::string archive_of(const c10::IValue& dict) {
  std::string archive;
  caffe2::serialize::PyTorchStreamWriter writer([&archive](const void* bytes, size_t size) {
    archive.append(static_cast<const char*>(bytes), size);
    return size;
  });
  std::string pickled;
  torch::jit::Pickler pickler(
      [&pickled](const char* bytes, size_t size) { pickled.append(bytes, size); }, nullptr, nullptr,
      nullptr, nullptr, /*tag_aggregates=*/false);
  pickler.protocol();
  pickler.pushIValue(dict);
  pickler.stop();
  writer.writeRecord("data.pkl", pickled.data(), pickled.size());
  size_t number = 0;
  for (const auto& tensor : pickler.tensorData()) {
    writer.writeRecord("data/" + std::to_string(number++), tensor.storage().data(),
                       tensor.storage().nbytes());
  }
  writer.writeEndOfFile();
  return archive;
}

}  // namespace

Status write_pickle(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
  c10::Dict<std::string, at::Tensor> dict;
  for (const auto& [name, tensor] : tensors)
    dict.insert(name, tensor.detach().cpu().clone(at::MemoryFormat::Contiguous));
  return storage::write_file_atomically(path, archive_of(dict));
}

Result<std::vector<NamedTensor>> read_pickle(const std::filesystem::path& path) {
  const auto text = storage::read_small_file(path, kMaxBytes);
  if (!text) return fail(text.error());
  try {
    return tensors_of(torch::jit::pickle_load({text->begin(), text->end()}), path);
  } catch (const std::exception& e) {
    const std::string_view what = e.what();
    return fail(bad(path, std::string(what.substr(0, what.find('\n')))));
  }
}

}  // namespace tunefleet::tuners
