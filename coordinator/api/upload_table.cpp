#include "coordinator/api/upload_table.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "coordinator/api/ids.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

constexpr std::string_view kUploadPrefix = "upload_";
constexpr const char* kPending = "pending";
constexpr int64_t kKeepRecord_s = 24 * 3600;

}  // namespace

UploadTable::UploadTable(std::filesystem::path directory, std::function<int64_t()> now_s)
    : directory_(std::move(directory)), now_s_(std::move(now_s)) {}

/// The upload as it is on the disk; null when it is not there.
UploadEntry* UploadTable::read(const std::string& id) {
  if (!is_id(id, kUploadPrefix)) return nullptr;
  UploadEntry& entry = entries_[id];
  const auto known = directory_.refresh_record(id, entry);
  if (known) return &entry;
  if (known.error().code != ErrorCode::kNotFound) {
    log::warning(
        fmt::format("an upload in parts cannot be read: {}: {}", id, known.error().message));
  }
  if (!entry.completing && entry.arriving_bytes == 0) entries_.erase(id);
  return nullptr;
}

void UploadTable::read_all() {
  const auto ids = directory_.ids();
  if (!ids) return log::warning("the uploads cannot be listed: " + ids.error().message);
  std::set<std::string> all(ids->begin(), ids->end());
  for (const auto& [id, entry] : entries_) all.insert(id);  // Those that are gone are forgotten.
  for (const std::string& id : all) read(id);
}

Result<UploadEntry*> UploadTable::find(const std::string& owner, const std::string& id) {
  UploadEntry* entry = read(id);
  if (entry != nullptr) expire(*entry);
  if (entry != nullptr && may_go(*entry)) {
    directory_.remove(id);
    entries_.erase(id);
    entry = nullptr;
  }
  if (entry == nullptr || entry->upload.owner != owner) {
    return fail(ErrorCode::kNotFound, fmt::format("no such upload: {}", id));
  }
  return entry;
}

/// Wants the upload's lock. The record first: a crash after it leaves bytes that go with it.
Status UploadTable::end(UploadEntry& entry, const char* status) {
  ChunkedUpload ending = entry.upload;
  ending.status = status;
  if (const auto kept = directory_.update(ending); !kept) return kept;
  entry.upload = ending;
  directory_.remove_bytes(ending.id);
  entry.parts.clear();
  return {};
}

/// Ends it when its hour is over, unless it is being completed.
void UploadTable::expire(UploadEntry& entry) {
  const std::string id = entry.upload.id;
  if (entry.upload.status != kPending || entry.upload.expires_at > now_s_() || entry.completing) {
    return;
  }
  const auto alone = directory_.try_lock(id);
  if (!alone || !*alone || !directory_.refresh_record(id, entry)) return;
  if (entry.upload.status != kPending) return;
  if (const auto kept = end(entry, "expired"); !kept) {
    log::warning("an expired upload stays for now: " + kept.error().message);
  }
}

/// Its end is so long ago that its record goes, too.
bool UploadTable::may_go(const UploadEntry& entry) const {
  const bool in_use = entry.completing || entry.arriving_bytes > 0;
  return !in_use && entry.upload.status != kPending &&
         entry.upload.expires_at + kKeepRecord_s <= now_s_();
}

void UploadTable::clean() {
  read_all();
  for (auto at = entries_.begin(); at != entries_.end();) {
    UploadEntry& entry = at->second;
    expire(entry);
    if (!may_go(entry)) {
      ++at;
      continue;
    }
    directory_.remove(entry.upload.id);
    at = entries_.erase(at);
  }
}

}  // namespace tunefleet::coordinator
