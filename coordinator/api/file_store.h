#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// An uploaded file as its meta.json says. Times are Unix seconds.
struct StoredFile {
  std::string id;  ///< "file-" + 24 characters, made here.
  std::string owner;
  std::string filename;  ///< What the client called it: text for people, never a path.
  std::string purpose;
  std::string status;                         ///< processed | error
  std::optional<std::string> status_details;  ///< Why it is not usable, with line numbers.
  int64_t bytes = 0;
  int64_t rows = 0;
  int64_t preferences = 0;  ///< Rows with a rejected answer.
  /// Lines of the first of them and of the first other row; 0: there is none.
  int64_t first_preference = 0, first_supervised = 0;
  int64_t created_at = 0;
  std::optional<int64_t> expires_at;
  std::string sha256;
};

/// What the client says of a file it uploads.
struct UploadFields {
  std::string owner;
  std::string filename;
  std::string purpose;
  std::optional<int64_t> expires_after_s;
  std::string id = {};  ///< Of the file; empty: a new one.
};

/// A file on its way in: written aside, invisible until commit. Its bytes go away with it.
class FileUpload {
 public:
  virtual ~FileUpload() = default;
  virtual Status write(std::string_view piece) = 0;
  /// Checks the rows, makes the file durable and visible. A file with malformed rows is kept, with
  /// status "error": the client sees why, and no job can use it.
  virtual Result<StoredFile> commit(const UploadFields& fields) = 0;
};

/// Uploaded files: <directory>/<file-id>/{content,meta.json}. Any thread, and any number of
/// processes on one directory: what one has stored or removed counts for the others from their next
/// call on.
class FileStore {
 public:
  /// Removes what an upload left that was interrupted an hour ago or earlier.
  static Result<std::unique_ptr<FileStore>> open(const std::filesystem::path& directory,
                                                 std::function<int64_t()> now_s);
  virtual ~FileStore() = default;

  virtual Result<std::unique_ptr<FileUpload>> begin_upload() = 0;
  /// kNotFound also for a file of another owner, and for one that has expired.
  virtual Result<StoredFile> get(const std::string& owner, const std::string& id) const = 0;
  /// Newest first.
  virtual std::vector<StoredFile> list(const std::string& owner) const = 0;
  virtual Status remove(const std::string& owner, const std::string& id) = 0;
  /// Absolute path of the bytes.
  virtual std::filesystem::path content_path(const std::string& id) const = 0;
};

}  // namespace tunefleet::coordinator
