#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "storage/atomic_file.h"
#include "storage/checkpoint.h"
#include "storage/os_error.h"
#include "storage/sha256.h"

namespace tunefleet::storage {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kManifest = "manifest.json";
constexpr uint64_t kMaxManifestBytes = 64 << 20;

/// Relative, and down only: a manifest from elsewhere must not name files outside its directory.
bool is_inner_path(const std::string& name) {
  const fs::path path(name);
  if (name.empty() || path.is_absolute() || name.find('\0') != std::string::npos) return false;
  return std::none_of(path.begin(), path.end(), [](const fs::path& part) {
    return part.empty() || part == ".." || part == ".";
  });
}

/// Fills the manifest of its JSON; throws json::exception where it is of another shape.
Manifest parse_manifest(json& object) {
  Manifest manifest;
  manifest.step = object.at("step").get<int64_t>();
  manifest.attempt = object.at("attempt").get<int64_t>();
  manifest.world_size = object.at("world_size").get<int64_t>();
  manifest.base_model_digest = object.at("base_model_digest").get<std::string>();
  manifest.created = object.at("created").get<std::string>();
  manifest.metadata = std::move(object.at("metadata"));  // a copy would recurse into it
  for (const auto& [name, file] : object.at("files").items()) {
    manifest.files[name] = {file.at("bytes").get<uint64_t>(), file.at("sha256").get<std::string>()};
  }
  return manifest;
}

Status verify_file(const fs::path& path, const ManifestFile& expected) {
  std::error_code error;
  const auto status = fs::symlink_status(path, error);
  if (status.type() != fs::file_type::regular) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("checkpoint's file is missing or no regular file: {}", path.string()));
  }
  const uint64_t bytes = fs::file_size(path, error);
  if (error) return fail_os("cannot read the file's size", path, error);
  if (bytes != expected.bytes) {
    return fail(ErrorCode::kDataLoss, fmt::format("checkpoint's file has another size than its "
                                                  "manifest says: {}, {} != {} bytes",
                                                  path.string(), bytes, expected.bytes));
  }
  const auto digest = sha256_file(path);
  if (!digest) return fail(digest.error());
  if (*digest == expected.sha256) return {};
  return fail(ErrorCode::kDataLoss,
              fmt::format("checkpoint's file is damaged: {}, SHA-256 {} != {}", path.string(),
                          *digest, expected.sha256));
}

}  // namespace

Result<Manifest> read_manifest(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kManifest;
  const auto text = read_small_file(path, kMaxManifestBytes);
  if (!text) return fail(text.error());
  const auto bad = [&](std::string_view what) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("checkpoint's manifest is damaged: {}, {}", what, path.string()));
  };
  json object = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return bad("not a JSON object");
  try {
    if (object.at("version").get<int64_t>() != Manifest::kVersion) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("checkpoint is of another version than is read here ({}): {}, {}",
                              Manifest::kVersion, object.at("version").dump(), path.string()));
    }
    Manifest manifest = parse_manifest(object);
    for (const auto& [name, file] : manifest.files) {
      if (!is_inner_path(name)) return bad("a path that leads out of it: " + name);
    }
    return manifest;
  } catch (const json::exception& error) {
    return bad(error.what());
  }
}

Result<Manifest> verify_checkpoint(const fs::path& checkpoint) {
  auto manifest = read_manifest(checkpoint);
  if (!manifest) return manifest;
  for (const auto& [name, file] : manifest->files) {
    if (Status ok = verify_file(checkpoint / name, file); !ok) return fail(ok.error());
  }
  return manifest;
}

}  // namespace tunefleet::storage
