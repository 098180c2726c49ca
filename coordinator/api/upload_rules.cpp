#include "coordinator/api/upload_rules.h"

#include <fmt/format.h>

#include <set>

#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kSpareBytes = 4 * UploadStore::kMaxPartBytes;

tl::unexpected<Error> wrong_part(const char* what, const std::string& id) {
  return fail(ErrorCode::kInvalidArgument, fmt::format("part_ids: {}: {}", what, id));
}

}  // namespace

int64_t UploadEntry::held_bytes() const {
  int64_t bytes = arriving_bytes;
  for (const auto& [id, size] : parts) bytes += size;
  return bytes;
}

Status check_share(const std::map<std::string, UploadEntry>& entries, const std::string& owner,
                   int64_t bytes) {
  size_t open = 0;
  for (const auto& [id, entry] : entries) {
    if (entry.upload.owner != owner || entry.upload.status != "pending") continue;
    ++open;
    bytes += entry.upload.bytes;
  }
  if (open < UploadStore::kMaxOpen && bytes <= UploadStore::kMaxOpenBytes) return {};
  return fail(ErrorCode::kResourceExhausted,
              fmt::format("too many uploads are open, at most {} with {} bytes in all; complete or "
                          "cancel one, each ends by itself after an hour",
                          UploadStore::kMaxOpen, UploadStore::kMaxOpenBytes));
}

Status reserve_bytes(UploadEntry& entry, int64_t bytes) {
  if (entry.held_bytes() + bytes > entry.upload.bytes + kSpareBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the parts are longer than the bytes promised for the upload: {}, {}",
                            entry.upload.bytes, entry.upload.id));
  }
  entry.arriving_bytes += bytes;
  return {};
}

Status check_parts(const UploadEntry& entry, const std::vector<std::string>& part_ids) {
  std::set<std::string> seen;
  int64_t bytes = 0;
  for (const std::string& id : part_ids) {
    const auto part = entry.parts.find(id);
    if (part == entry.parts.end()) return wrong_part("the upload has no such part", id);
    if (!seen.insert(id).second) return wrong_part("a part is named twice", id);
    bytes += part->second;
  }
  if (bytes == entry.upload.bytes) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("the parts are not as long as the bytes promised for the upload: {} "
                          "instead of {}",
                          bytes, entry.upload.bytes));
}

std::string digest_of_parts(const std::vector<std::string>& part_ids) {
  storage::Sha256 digest;
  for (const auto& id : part_ids) digest.update(id + "\n");
  return digest.hex();
}

tl::unexpected<Error> upload_ended(const ChunkedUpload& upload) {
  return fail(ErrorCode::kConflict,
              fmt::format("the upload is {}, make a new one: {}", upload.status, upload.id));
}

}  // namespace tunefleet::coordinator
