#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "storage/staging_directory.h"

/// Checkpoints of a run, as checkpoint.md describes them:
///   <run>/checkpoint-<step>/{files…, manifest.json}    <run>/latest -> checkpoint-<step>
namespace tunefleet::storage {

/// A file of a checkpoint.
struct ManifestFile {
  uint64_t bytes = 0;
  std::string sha256;  ///< 64 lower-case hex digits.
  bool operator==(const ManifestFile&) const = default;
};

/// manifest.json, written last: what the checkpoint holds and where it comes from.
struct Manifest {
  static constexpr int64_t kVersion = 1;

  int64_t step = 0;               ///< Optimizer steps done.
  int64_t attempt = 0;            ///< Of the job; a later one may replace an earlier one's.
  int64_t world_size = 1;         ///< Ranks that trained.
  std::string base_model_digest;  ///< model_digest() of the base; empty when unknown.
  std::string created;            ///< UTC, "2026-01-31T12:00:00Z".
  nlohmann::json metadata = nlohmann::json::object();  ///< The writer's own facts.
  std::map<std::string, ManifestFile> files;           ///< By path relative to the checkpoint.
};

/// What a writer knows before it starts; the rest of the manifest is computed.
struct CheckpointOptions {
  int64_t attempt = 0;
  int64_t world_size = 1;
  std::string base_model_digest = {};
};

/// Writes one checkpoint: begin() makes `<run>/tmp.<attempt>.<unique>/`, the caller fills it,
/// commit() makes it `<run>/checkpoint-<step>`. Destroyed before commit(), it leaves nothing. One
/// writer per run at a time (rank 0), any thread.
///   begin -> files written -> checksums -> fsync -> manifest -> rename -> latest
class CheckpointWriter {
 public:
  /// Makes the directory; `run` is created when it is not there. Removes what dead writers of this
  /// and earlier attempts left. Errors as fail_os().
  static Result<CheckpointWriter> begin(const std::filesystem::path& run,
                                        CheckpointOptions options);

  /// Where to write the files; sub-directories are welcome, links are not.
  const std::filesystem::path& directory() const { return staging_.path(); }

  /// Makes the checkpoint durable and visible and points `latest` at it; gives its path. A
  /// checkpoint of the same step is replaced, in one exchange, when it does not verify or is of an
  /// earlier or the same attempt. kConflict when a later attempt has written it or `latest`: this
  /// writer is a straggler. kResourceExhausted when the disk is full. Whatever fails, the earlier
  /// checkpoints and `latest` stay as they were.
  Result<std::filesystem::path> commit(int64_t step, const nlohmann::json& metadata);

 private:
  CheckpointWriter(std::filesystem::path run, CheckpointOptions options, StagingDirectory staging)
      : run_(std::move(run)), options_(std::move(options)), staging_(std::move(staging)) {}

  std::filesystem::path run_;
  CheckpointOptions options_;
  StagingDirectory staging_;
};

/// Reads manifest.json without looking at the files. kNotFound, kDataLoss.
Result<Manifest> read_manifest(const std::filesystem::path& checkpoint);

/// Reads every file of the checkpoint and compares sizes and checksums with the manifest. kNotFound
/// without a manifest; kDataLoss naming the file and both checksums, or a file that is missing.
/// Files beside those of the manifest do not matter.
Result<Manifest> verify_checkpoint(const std::filesystem::path& checkpoint);

/// A checkpoint that was passed over, and why.
struct SkippedCheckpoint {
  std::filesystem::path path;
  Error reason;
};

/// The newest checkpoint that verifies (highest step), or nothing when there is none; `skipped`, if
/// given, takes the newer ones that do not. A run without a directory has no checkpoints.
Result<std::optional<std::filesystem::path>> newest_checkpoint(
    const std::filesystem::path& run, std::vector<SkippedCheckpoint>* skipped = nullptr);

/// All `checkpoint-<step>` directories of a run with their steps, oldest first; not verified.
Result<std::vector<std::pair<int64_t, std::filesystem::path>>> list_checkpoints(
    const std::filesystem::path& run);

/// Removes the oldest checkpoints until `keep` >= 1 are left; the one that `latest` names and
/// those in `protect` (a best one) always stay. Gives the number removed.
Result<int> prune_checkpoints(const std::filesystem::path& run, int keep,
                              const std::vector<std::filesystem::path>& protect = {});

/// Removes the `tmp.*` and `old.*` directories that dead writers left, of attempts up to `attempt`;
/// a good checkpoint under `old.*` whose place is empty goes back there instead.
Status remove_stale_checkpoints(const std::filesystem::path& run, int64_t attempt);

}  // namespace tunefleet::storage
