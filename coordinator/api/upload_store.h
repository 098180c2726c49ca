#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/file_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// A file that comes in parts, as its upload.json says. Times are Unix seconds.
///   pending --complete--> completed
///      |----cancel------> cancelled
///      +----one hour----> expired
struct ChunkedUpload {
  std::string id{};  ///< "upload_" + 24 characters, made here.
  std::string owner{};
  std::string filename{};  ///< What the client called it: text for people, never a path.
  std::string purpose{};
  std::string mime_type{};
  int64_t bytes = 0;  ///< Of the whole file, as its owner promised.
  int64_t created_at = 0;
  int64_t expires_at = 0;
  std::optional<int64_t> file_expires_after_s{};  ///< Of the file that comes of it.
  std::string status{};                           ///< pending | completed | cancelled | expired
  std::string file_id{};                          ///< Of that file, chosen when completing begins.
  std::string parts_digest{};  ///< SHA-256 of the part ids it was completed with.
};

/// One stored part.
struct UploadPart {
  std::string id{};  ///< "part_" + 24 characters, made here.
  std::string upload_id{};
  int64_t created_at = 0;
};

/// A part on its way in: invisible until commit. Its bytes go away with it.
class PartWriter {
 public:
  virtual ~PartWriter() = default;
  /// kInvalidArgument when part or upload grow past their bounds.
  virtual Status write(std::string_view piece) = 0;
  /// kConflict when the upload has ended meanwhile.
  virtual Result<UploadPart> commit() = 0;
};

/// Uploads in parts: <directory>/<upload-id>/{upload.json,<part-id>…}, so that they outlive the
/// process. Any thread, and any number of processes on one directory: an upload that was begun at
/// one goes on at another. Each counts an owner's share and the bytes that arrive by what it sees
/// on the disk and receives itself. Bytes go when an upload is completed, cancelled or expired;
/// what is left of it, for a client that repeats a call, goes a day later.
class UploadStore {
 public:
  static constexpr int64_t kMaxFileBytes = int64_t{8} << 30;
  static constexpr int64_t kMaxPartBytes = int64_t{64} << 20;
  static constexpr int64_t kLifetime_s = 3600;
  static constexpr size_t kMaxParts = 10'000;                  ///< Of one upload.
  static constexpr size_t kMaxOpen = 16;                       ///< Pending uploads of one owner,
  static constexpr int64_t kMaxOpenBytes = int64_t{32} << 30;  ///< and the bytes they promise.

  /// Removes what has ended or was interrupted. `files` outlives it.
  static Result<std::unique_ptr<UploadStore>> open(const std::filesystem::path& directory,
                                                   FileStore& files,
                                                   std::function<int64_t()> now_s);
  virtual ~UploadStore() = default;

  /// Takes owner, filename, purpose, mime_type, bytes and file_expires_after_s of `wish`.
  /// kInvalidArgument for more than kMaxFileBytes, kResourceExhausted beyond the owner's share.
  virtual Result<ChunkedUpload> create(const ChunkedUpload& wish) = 0;
  /// kNotFound also for another owner's upload, kConflict for one that is not pending.
  virtual Result<std::unique_ptr<PartWriter>> begin_part(const std::string& owner,
                                                         const std::string& id) = 0;
  /// Joins the parts in that order into a file. kInvalidArgument when a part is not there, when
  /// they are not as long as promised or do not have that MD5 (hexadecimal; empty: not checked):
  /// the upload then stays pending. The same call again returns what the first made; kConflict for
  /// other parts, and for an upload that was cancelled or has expired.
  virtual Result<ChunkedUpload> complete(const std::string& owner, const std::string& id,
                                         const std::vector<std::string>& part_ids,
                                         const std::string& md5) = 0;
  /// The same call again finds it cancelled; kConflict for one that is completed or has expired.
  virtual Result<ChunkedUpload> cancel(const std::string& owner, const std::string& id) = 0;
  /// Removes the bytes of what has expired. Also done by a thread of the store, each minute.
  virtual void remove_expired() = 0;
};

}  // namespace tunefleet::coordinator
