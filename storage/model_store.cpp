#include "storage/model_store.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/os_error.h"
#include "storage/sha256.h"
#include "storage/sharded_model.h"

namespace tunefleet::storage {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kDigestFile = ".digest.json";
constexpr uint64_t kMaxConfigBytes = 16 << 20;
constexpr size_t kMaxNameBytes = 128;

bool is_model_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::string architecture_of(const fs::path& model) {
  const auto text = read_small_file(model / "config.json", kMaxConfigBytes);
  if (!text) return "";
  const json config = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("architectures")) return "";
  const json& names = config["architectures"];
  return names.is_array() && !names.empty() && names[0].is_string() ? names[0].get<std::string>()
                                                                    : "";
}

/// config.json and the weights, relative to the model's directory, sorted.
Result<std::vector<std::string>> files_of(const fs::path& model) {
  auto files = weight_files(model);
  if (!files) return files;
  std::error_code ignored;
  files->push_back("config.json");
  if (fs::exists(model / "model.safetensors.index.json", ignored)) {
    files->push_back("model.safetensors.index.json");
  }
  std::sort(files->begin(), files->end());
  return files;
}

/// What changes when a file does: {name: [size, modification time in ns]}.
Result<json> stamps_of(const fs::path& model, const std::vector<std::string>& files) {
  json stamps = json::object();
  for (const std::string& name : files) {
    struct stat info {};
    if (::stat((model / name).c_str(), &info) != 0) {
      return fail_os("cannot read the model's file", model / name, errno);
    }
    stamps[name] = {info.st_size, info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
  }
  return stamps;
}

/// Edits (insertions, deletions, substitutions) between two names.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
    }
  }
  return row.back();
}

/// "did you mean X?" or the names there are, nearest first.
tl::unexpected<Error> fail_unknown(const fs::path& models_directory, std::string_view name) {
  auto models = list_models(models_directory);
  std::vector<std::string> names;
  if (models) {
    for (const ModelEntry& model : *models) names.push_back(model.name);
  }
  std::stable_sort(names.begin(), names.end(), [&](const auto& a, const auto& b) {
    return edit_distance(a, name) < edit_distance(b, name);
  });
  if (names.size() > 8) names.resize(8);
  const std::string way_out = names.empty()
                                  ? "there are none; import one with tunefleet models import"
                                  : fmt::format("nearest: {}", fmt::join(names, ", "));
  return fail(ErrorCode::kNotFound,
              fmt::format("no such model in the models directory ({}): {}, {}", way_out, name,
                          models_directory.string()));
}

Result<fs::path> resolve_path(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::weakly_canonical(path, error);
  if (!error && fs::is_regular_file(absolute, error) && absolute.extension() == ".gguf")
    return absolute;
  if (!error && fs::is_regular_file(absolute / "config.json", error)) return absolute;
  return fail(ErrorCode::kNotFound,
              fmt::format("path is neither a Hugging Face directory (with config.json) nor a .gguf "
                          "file: {}",
                          path.string()));
}

}  // namespace

Result<std::vector<ModelEntry>> list_models(const fs::path& models_directory) {
  std::vector<ModelEntry> models;
  std::error_code error;
  if (!fs::exists(models_directory, error)) return models;
  for (fs::directory_iterator entry(models_directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path path = entry->path();
    const std::string name = path.filename().string();
    struct stat config {};
    if (!is_model_name(name) || ::stat((path / "config.json").c_str(), &config) != 0) continue;
    const auto weights = weight_files(path);
    if (!weights) continue;
    ModelEntry model{name, path, 0, architecture_of(path),
                     config.st_mtim.tv_sec * 1000 + config.st_mtim.tv_nsec / 1'000'000};
    for (const std::string& file : *weights) {
      std::error_code ignored;
      const auto bytes = fs::file_size(path / file, ignored);
      if (!ignored) model.weight_bytes += bytes;
    }
    models.push_back(std::move(model));
  }
  if (error) return fail_os("cannot list the models directory", models_directory, error);
  std::sort(models.begin(), models.end(),
            [](const ModelEntry& a, const ModelEntry& b) { return a.name < b.name; });
  return models;
}

Result<fs::path> resolve_model(const fs::path& models_directory, std::string_view name_or_path,
                               ModelPaths paths) {
  std::error_code error;
  if (is_model_name(name_or_path)) {
    const fs::path path = fs::absolute(models_directory / name_or_path, error);
    if (!error && fs::is_regular_file(path / "config.json", error)) return path;
    if (paths == ModelPaths::kNamesOnly || !fs::exists(fs::path(name_or_path), error)) {
      return fail_unknown(models_directory, name_or_path);
    }
  }
  if (paths == ModelPaths::kPathsAllowed && name_or_path.find('\0') == std::string_view::npos) {
    return resolve_path(name_or_path);
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("model's name may hold letters, digits, '.', '_' and '-' only: {}",
                          name_or_path.substr(0, kMaxNameBytes)));
}

Result<std::string> model_digest(const fs::path& model) {
  const auto files = files_of(model);
  if (!files) return fail(files.error());
  const auto stamps = stamps_of(model, *files);
  if (!stamps) return fail(stamps.error());
  if (const auto text = read_small_file(model / kDigestFile, kMaxConfigBytes)) {
    const json kept = json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (kept.is_object() && kept.contains("files") && kept["files"] == *stamps &&
        kept.contains("sha256") && kept["sha256"].is_string()) {
      return kept["sha256"].get<std::string>();
    }
  }
  Sha256 digest;
  for (const std::string& name : *files) {
    const auto content = sha256_file(model / name);
    if (!content) return fail(content.error());
    digest.update(fmt::format("{} {} {}\n", name, (*stamps)[name][0].dump(), *content));
  }
  const std::string hex = digest.hex();
  const json kept{{"sha256", hex}, {"files", *stamps}};
  if (Status ok = write_file_atomically(model / kDigestFile, kept.dump(2) + "\n"); !ok) {
    log::debug(fmt::format("model's digest is not kept: {}", ok.error().message));
  }
  return hex;
}

}  // namespace tunefleet::storage
