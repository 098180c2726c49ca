#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <utility>

#include "storage/atomic_file.h"
#include "storage/checkpoint.h"
#include "storage/os_error.h"
#include "storage/sha256.h"

namespace tunefleet::storage {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kLatest = "latest";
constexpr const char* kManifest = "manifest.json";

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

/// Size and checksum of every file under `directory`, by relative path.
Result<std::map<std::string, ManifestFile>> digest_files(const fs::path& directory) {
  std::map<std::string, ManifestFile> files;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const auto type = entry->symlink_status(error).type();
    if (type == fs::file_type::directory) continue;
    if (type != fs::file_type::regular) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("checkpoint may hold files and directories only: {}",
                              entry->path().string()));
    }
    auto digest = sha256_file(entry->path());
    if (!digest) return fail(digest.error());
    files[entry->path().lexically_relative(directory).generic_string()] = {entry->file_size(error),
                                                                           std::move(*digest)};
  }
  if (error) return fail_os("cannot list the checkpoint", directory, error);
  if (!files.contains(kManifest)) return files;
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("checkpoint's manifest is not the caller's to write: {}",
                          (directory / kManifest).string()));
}

/// manifest.json's text. kInvalidArgument for a file name or metadata that is not UTF-8.
Result<std::string> to_text(const Manifest& manifest) {
  try {
    json files = json::object();
    for (const auto& [name, file] : manifest.files) {
      files[name] = {{"bytes", file.bytes}, {"sha256", file.sha256}};
    }
    const json object{{"version", Manifest::kVersion},
                      {"step", manifest.step},
                      {"attempt", manifest.attempt},
                      {"world_size", manifest.world_size},
                      {"base_model_digest", manifest.base_model_digest},
                      {"created", manifest.created},
                      {"metadata", manifest.metadata},
                      {"files", files}};
    return object.dump(2) + "\n";
  } catch (const json::exception&) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("checkpoint's file name or metadata is not UTF-8: step {}", manifest.step));
  }
}

/// Puts the link aside and renames it, so that `latest` always names something.
Status point_latest_at(const fs::path& run, const std::string& name) {
  const fs::path aside = run / fmt::format("tmp.latest.{}", unique_name());
  if (::symlink(name.c_str(), aside.c_str()) != 0) {
    return fail_os("cannot make the link to the latest checkpoint", aside, errno);
  }
  if (::rename(aside.c_str(), (run / kLatest).c_str()) != 0) {
    const int error_number = errno;
    ::unlink(aside.c_str());
    return fail_os("cannot replace the link to the latest checkpoint", run / kLatest, error_number);
  }
  return fsync_directory(run);
}

/// kConflict when a later attempt than ours has written `latest`, or this step and it is good.
Status check_not_fenced(const fs::path& run, const fs::path& target, int64_t attempt) {
  const auto latest = read_manifest(run / kLatest);
  const auto present = verify_checkpoint(target);
  const int64_t newest = std::max(latest ? latest->attempt : 0, present ? present->attempt : 0);
  if (newest <= attempt) return {};
  return fail(ErrorCode::kConflict,
              fmt::format("a later attempt writes this run's checkpoints: {}, attempt {} > {}",
                          target.string(), newest, attempt));
}

}  // namespace

Result<CheckpointWriter> CheckpointWriter::begin(const fs::path& run, CheckpointOptions options) {
  std::error_code error;
  fs::create_directories(run, error);
  if (error) return fail_os("cannot create the run's directory", run, error);
  if (Status ok = remove_stale_checkpoints(run, options.attempt); !ok) return fail(ok.error());
  auto staging =
      StagingDirectory::create(run / fmt::format("tmp.{}.{}", options.attempt, unique_name()));
  if (!staging) return fail(staging.error());
  return CheckpointWriter(run, std::move(options), std::move(*staging));
}

Result<fs::path> CheckpointWriter::commit(int64_t step, const json& metadata) {
  if (staging_.path().empty() || step < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("checkpoint was committed already, or its step is negative: {}", step));
  }
  const std::string name = fmt::format("checkpoint-{}", step);
  const fs::path target = run_ / name;
  if (Status ok = check_not_fenced(run_, target, options_.attempt); !ok) return fail(ok.error());

  auto files = digest_files(staging_.path());
  if (!files) return fail(files.error());
  const auto manifest =
      to_text({step, options_.attempt, options_.world_size, options_.base_model_digest, utc_now(),
               metadata, std::move(*files)});
  if (!manifest) return fail(manifest.error());
  if (Status ok = staging_.sync(); !ok) return fail(ok.error());
  if (Status ok = write_file_atomically(staging_.path() / kManifest, *manifest); !ok) {
    return fail(ok.error());
  }
  std::error_code error;
  const bool occupied = fs::exists(fs::symlink_status(target, error));
  const fs::path aside = run_ / fmt::format("old.{}.{}", options_.attempt, unique_name());
  if (Status ok = occupied ? staging_.replace(target, aside) : staging_.rename_to(target); !ok) {
    return fail(ok.error());
  }
  if (Status ok = point_latest_at(run_, name); !ok) return fail(ok.error());
  return target;
}

}  // namespace tunefleet::storage
