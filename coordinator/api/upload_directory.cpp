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

}  // namespace

Result<std::map<std::string, UploadEntry>> UploadDirectory::load() const {
  if (const auto made = make_private_directory(directory_); !made) return fail(made.error());
  std::map<std::string, UploadEntry> entries;
  std::error_code error;
  for (const auto& folder : fs::directory_iterator(directory_, error)) {
    if (is_id(folder.path().filename().string(), kUploadPrefix)) {
      load_upload(folder.path(), entries);
    }
  }
  if (error) return storage::fail_os("cannot read the directory", directory_, error);
  return entries;
}

/// A folder without a record is of a creation that was never answered, or of a removal.
void UploadDirectory::load_upload(const fs::path& folder,
                                  std::map<std::string, UploadEntry>& entries) const {
  std::error_code error;
  auto upload = read_record(folder);
  if (!upload) {
    const ErrorCode code = upload.error().code;
    log::warning(fmt::format("an upload in parts cannot be used: {}: {}", folder.string(),
                             upload.error().message));
    if (code == ErrorCode::kNotFound || code == ErrorCode::kDataLoss) fs::remove_all(folder, error);
    return;
  }
  UploadEntry entry{.upload = std::move(*upload)};
  const bool pending = entry.upload.status == "pending";
  for (const auto& file : fs::directory_iterator(folder, error)) {
    const std::string name = file.path().filename().string();
    if (name == kRecord) continue;
    if (pending && is_id(name, kPartPrefix)) {
      entry.parts[name] = static_cast<int64_t>(file.file_size(error));
      entry.held_bytes += entry.parts[name];
    } else {
      fs::remove_all(file.path(), error);  // Of a part that never became whole, or of an end.
    }
  }
  entries[entry.upload.id] = std::move(entry);
}

Status UploadDirectory::create(const ChunkedUpload& upload) const {
  if (const auto made = make_private_directory(directory_ / upload.id); !made) return made;
  if (const auto written = update(upload); !written) return written;
  return storage::fsync_directory(directory_);
}

Status UploadDirectory::update(const ChunkedUpload& upload) const {
  const auto text = to_json(upload).dump(2, ' ', false, json::error_handler_t::replace);
  const auto kept =
      storage::write_file_atomically(directory_ / upload.id / kRecord, text + "\n", kMode);
  if (!kept) return fail("storing the upload", kept.error());
  return {};
}

void UploadDirectory::remove_part(const std::string& upload, const std::string& part) const {
  std::error_code error;  // What stays is removed at the next start.
  fs::remove(part_path(upload, part), error);
}

void UploadDirectory::remove(const std::string& upload) const {
  std::error_code error;  // What stays is removed at the next start.
  fs::remove_all(directory_ / upload, error);
}

}  // namespace tunefleet::coordinator
