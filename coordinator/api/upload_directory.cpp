#include "coordinator/api/upload_directory.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "coordinator/api/ids.h"
#include "coordinator/api/private_directory.h"
#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxRecord = 1 << 20;
constexpr unsigned kMode = 0600;
constexpr const char* kRecord = "upload.json";
constexpr const char* kLock = "lock";
constexpr std::string_view kAside = "new-";
constexpr std::string_view kUploadPrefix = "upload_";
constexpr std::string_view kPartPrefix = "part_";

ChunkedUpload from_json(const json& stored) {
  ChunkedUpload upload{.id = stored.at("id"),
                       .owner = stored.at("owner"),
                       .filename = stored.at("filename"),
                       .purpose = stored.at("purpose"),
                       .mime_type = stored.at("mime_type"),
                       .bytes = stored.at("bytes"),
                       .created_at = stored.at("created_at"),
                       .expires_at = stored.at("expires_at"),
                       .status = stored.at("status"),
                       .file_id = stored.at("file_id"),
                       .parts_digest = stored.at("parts_digest")};
  if (const auto& after = stored.at("file_expires_after_s"); !after.is_null()) {
    upload.file_expires_after_s = after.get<int64_t>();
  }
  return upload;
}

json to_json(const ChunkedUpload& upload) {
  const auto& after = upload.file_expires_after_s;
  return {{"id", upload.id},
          {"owner", upload.owner},
          {"filename", upload.filename},
          {"purpose", upload.purpose},
          {"mime_type", upload.mime_type},
          {"bytes", upload.bytes},
          {"created_at", upload.created_at},
          {"expires_at", upload.expires_at},
          {"file_expires_after_s", after ? json(*after) : json()},
          {"status", upload.status},
          {"file_id", upload.file_id},
          {"parts_digest", upload.parts_digest}};
}

/// kDataLoss for a record that is not ours or names another folder.
Result<ChunkedUpload> read_record(const fs::path& folder) {
  const auto text = storage::read_small_file(folder / kRecord, kMaxRecord);
  if (!text) return fail(text.error());
  try {
    ChunkedUpload upload = from_json(json::parse(*text));
    if (upload.id == folder.filename()) return upload;
    return fail(ErrorCode::kDataLoss, "the record names another upload: " + upload.id);
  } catch (const json::exception& error) {
    return fail(ErrorCode::kDataLoss, fmt::format("the record is damaged: {}", error.what()));
  }
}

Status write_record(const fs::path& folder, const ChunkedUpload& upload) {
  const auto text = to_json(upload).dump(2, ' ', false, json::error_handler_t::replace);
  const auto kept = storage::write_file_atomically(folder / kRecord, text + "\n", kMode);
  if (!kept) return fail("storing the upload", kept.error());
  return {};
}

/// Too old to be of a creation that another process is at.
bool is_old(const fs::path& folder) {
  std::error_code error;
  const auto written = fs::last_write_time(folder, error);
  return !error && fs::file_time_type::clock::now() - written > std::chrono::minutes(1);
}

}  // namespace

Result<std::vector<std::string>> UploadDirectory::ids() const {
  if (const auto made = make_private_directory(directory_); !made) return fail(made.error());
  std::vector<std::string> ids;
  std::error_code error;
  for (const auto& folder : fs::directory_iterator(directory_, error)) {
    const std::string name = folder.path().filename().string();
    if (is_id(name, kUploadPrefix)) ids.push_back(name);
  }
  if (error) return storage::fail_os("cannot read the directory", directory_, error);
  return ids;
}

Status UploadDirectory::refresh_record(const std::string& id, UploadEntry& entry) const {
  const auto folder = directory_ / id;
  const auto stamp = storage::FileStamp::of(folder / kRecord);
  if (stamp == entry.stamp && !entry.upload.id.empty()) return {};
  auto upload = read_record(folder);
  if (!upload) return fail(upload.error());
  entry.upload = std::move(*upload);
  entry.stamp = stamp;
  return {};
}

void UploadDirectory::refresh_parts(UploadEntry& entry) const {
  std::map<std::string, int64_t> parts;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(directory_ / entry.upload.id, error)) {
    const std::string name = file.path().filename().string();
    if (!is_id(name, kPartPrefix)) continue;
    const auto known = entry.parts.find(name);
    parts[name] =
        known != entry.parts.end() ? known->second : static_cast<int64_t>(file.file_size(error));
  }
  entry.parts = std::move(parts);
}

Result<storage::FileLock> UploadDirectory::lock(const std::string& id,
                                                std::chrono::milliseconds limit) const {
  return storage::FileLock::take(directory_ / id / kLock, limit);
}

Result<std::optional<storage::FileLock>> UploadDirectory::try_lock(const std::string& id) const {
  return storage::FileLock::try_take(directory_ / id / kLock);
}

/// Made aside: a folder without a record would look like what a removal left.
Status UploadDirectory::create(const ChunkedUpload& upload) const {
  const auto aside = directory_ / (std::string(kAside) + upload.id);
  if (const auto made = make_private_directory(aside); !made) return made;
  if (const auto written = write_record(aside, upload); !written) return written;
  std::error_code error;
  fs::rename(aside, directory_ / upload.id, error);
  if (error) return storage::fail_os("cannot store the upload", directory_, error);
  return storage::fsync_directory(directory_);
}

Status UploadDirectory::update(const ChunkedUpload& upload) const {
  return write_record(directory_ / upload.id, upload);
}

void UploadDirectory::remove_bytes(const std::string& upload) const {
  std::error_code error;
  std::vector<fs::path> gone;
  for (const auto& file : fs::directory_iterator(directory_ / upload, error)) {
    const std::string name = file.path().filename().string();
    if (name != kRecord && name != kLock) gone.push_back(file.path());
  }
  for (const auto& path : gone) fs::remove(path, error);  // What stays goes with the record.
}

void UploadDirectory::remove_broken() const {
  std::error_code error;
  std::vector<fs::path> gone;
  for (const auto& folder : fs::directory_iterator(directory_, error)) {
    const std::string name = folder.path().filename().string();
    if (name.starts_with(kAside) && is_old(folder.path())) gone.push_back(folder.path());
    if (!is_id(name, kUploadPrefix)) continue;
    const auto upload = read_record(folder.path());
    if (upload) continue;
    const ErrorCode code = upload.error().code;
    log::warning(fmt::format("an upload in parts cannot be used: {}: {}", folder.path().string(),
                             upload.error().message));
    if (code == ErrorCode::kNotFound || code == ErrorCode::kDataLoss) gone.push_back(folder.path());
  }
  for (const auto& path : gone) fs::remove_all(path, error);
}

void UploadDirectory::remove_part(const std::string& upload, const std::string& part) const {
  std::error_code error;  // What stays goes with the upload.
  fs::remove(part_path(upload, part), error);
}

void UploadDirectory::remove(const std::string& upload) const {
  std::error_code error;  // What stays is removed at the next start.
  fs::remove_all(directory_ / upload, error);
}

}  // namespace tunefleet::coordinator
