#include "tuners/config/stored_adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "storage/atomic_file.h"

namespace tunefleet::tuners {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 1 << 20;

Status refuse_extra_states(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::exists(directory / "extra_states", ignored)) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("the checkpoint carries base weights in extra_states, which cannot be "
                          "loaded: {}",
                          directory.string()));
}

/// Names and folders, the root first.
std::vector<std::pair<std::string, fs::path>> adapter_folders(const fs::path& directory) {
  std::error_code error;
  std::vector<std::pair<std::string, fs::path>> found;
  if (fs::exists(directory / kAdapterConfigFile, error)) found.emplace_back("default", directory);
  std::vector<fs::path> folders;
  for (const auto& item : fs::directory_iterator(directory, error)) {
    if (item.path().filename() == "extra_states") continue;
    if (fs::exists(item.path() / kAdapterConfigFile, error)) folders.push_back(item.path());
  }
  std::sort(folders.begin(), folders.end());
  for (const auto& folder : folders) found.emplace_back(folder.filename().string(), folder);
  return found;
}

}  // namespace

Result<StoredAdapter> read_stored_adapter(const fs::path& directory, std::string name) {
  const fs::path file = directory / kAdapterConfigFile;
  auto text = storage::read_small_file(file, kMaxConfigBytes);
  if (!text) return fail(fmt::format("adapter {}", name), text.error());
  auto kind = read_adapter_kind(*text, file.string());
  if (!kind) return fail(kind.error());
  return StoredAdapter{.name = std::move(name),
                       .directory = directory,
                       .kind = *std::move(kind),
                       .config_text = *std::move(text)};
}

Result<std::vector<StoredAdapter>> list_adapters(const fs::path& directory) {
  const auto found = adapter_folders(directory);
  if (found.empty()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("no adapter here, neither the directory nor a folder in it has an {}: "
                            "{}",
                            kAdapterConfigFile, directory.string()));
  }
  if (auto status = refuse_extra_states(directory); !status) return fail(status.error());
  std::vector<StoredAdapter> adapters;
  for (const auto& [name, path] : found) {
    auto stored = read_stored_adapter(path, name);
    if (!stored) return fail(stored.error());
    adapters.push_back(*std::move(stored));
  }
  // A tuner that only PEFT has says so in both layouts: the folders tell them apart.
  std::error_code error;
  if (adapters.size() > 1 && !fs::exists(directory / kAdapterConfigFile, error)) {
    std::erase_if(adapters, [](const auto& each) {
      return each.name == "peft" && each.kind.swift_type.empty();
    });
  }
  return adapters;
}

}  // namespace tunefleet::tuners
