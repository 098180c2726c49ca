#include "coordinator/api/upload_store.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "coordinator/api/ids.h"
#include "coordinator/api/part_joiner.h"
#include "coordinator/api/upload_directory.h"
#include "coordinator/api/upload_rules.h"
#include "proto/log.h"
#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUploadPrefix = "upload_";
constexpr std::string_view kPartPrefix = "part_";
constexpr const char* kPending = "pending";
constexpr int64_t kKeepRecord_s = 24 * 3600;
constexpr std::chrono::seconds kCleanEvery{60};
constexpr std::chrono::seconds kCompletingLimit{30};

class Store;

class Writer final : public PartWriter {
 public:
  Writer(Store& store, UploadPart part, storage::AtomicFile content)
      : store_(store), part_(std::move(part)), content_(std::move(content)) {}
  ~Writer() override;
  Status write(std::string_view piece) override;
  Result<UploadPart> commit() override;

 private:
  Store& store_;
  UploadPart part_;
  storage::AtomicFile content_;
  int64_t reserved_ = 0;  ///< Counted in the entry's held_bytes.
  bool committed_ = false;
};

class Store final : public UploadStore {
 public:
  Store(fs::path directory, FileStore& files, std::function<int64_t()> now_s)
      : directory_(std::move(directory)), files_(files), now_s_(std::move(now_s)) {}
  ~Store() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (cleaner_.joinable()) cleaner_.join();
  }

  Status load();
  Result<ChunkedUpload> create(const ChunkedUpload& wish) override;
  Result<std::unique_ptr<PartWriter>> begin_part(const std::string& owner,
                                                 const std::string& id) override;
  Result<ChunkedUpload> complete(const std::string& owner, const std::string& id,
                                 const std::vector<std::string>& part_ids,
                                 const std::string& md5) override;
  Result<ChunkedUpload> cancel(const std::string& owner, const std::string& id) override;
  void remove_expired() override;

  // What Writer and Completing need.
  Status reserve(const std::string& upload, int64_t bytes);
  void release(const std::string& upload, int64_t bytes);
  Status add_part(const UploadPart& part, int64_t bytes);
  void end_completing(const std::string& id);

 private:
  // These want mutex_ held.
  Result<UploadEntry*> find(const std::string& owner, const std::string& id);
  Status end(UploadEntry& entry, const char* status);
  void clean();

  Result<ChunkedUpload> begin_completing(const std::string& owner, const std::string& id,
                                         const std::vector<std::string>& part_ids);
  Status join(const ChunkedUpload& upload, const std::vector<std::string>& part_ids,
              const std::string& md5);

  const UploadDirectory directory_;
  FileStore& files_;
  std::function<int64_t()> now_s_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::map<std::string, UploadEntry> entries_;  ///< By id.
  std::thread cleaner_;
};

/// Ends the mark of begin_completing(), whatever happens.
class Completing {
 public:
  Completing(Store& store, std::string id) : store_(store), id_(std::move(id)) {}
  ~Completing() { store_.end_completing(id_); }
  Completing(const Completing&) = delete;
  Completing& operator=(const Completing&) = delete;

 private:
  Store& store_;
  std::string id_;
};

Status Store::load() {
  auto entries = directory_.load();
  if (!entries) return fail(entries.error());
  entries_ = std::move(*entries);
  remove_expired();
  cleaner_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kCleanEvery, [this] { return stopping_; })) clean();
  });
  return {};
}

Result<UploadEntry*> Store::find(const std::string& owner, const std::string& id) {
  clean();
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.upload.owner != owner) {
    return fail(ErrorCode::kNotFound, fmt::format("no such upload: {}", id));
  }
  return &found->second;
}

Result<ChunkedUpload> Store::create(const ChunkedUpload& wish) {
  if (wish.bytes < 1 || wish.bytes > kMaxFileBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("bytes: must be from 1 to {}: {}", kMaxFileBytes, wish.bytes));
  }
  const std::lock_guard lock(mutex_);
  clean();
  if (const auto share = check_share(entries_, wish.owner, wish.bytes); !share) {
    return fail(share.error());
  }
  ChunkedUpload upload = wish;
  upload.id = random_id(kUploadPrefix);
  upload.created_at = now_s_();
  upload.expires_at = upload.created_at + kLifetime_s;
  upload.status = kPending;
  if (const auto kept = directory_.create(upload); !kept) return fail(kept.error());
  entries_[upload.id].upload = upload;
  return upload;
}

Result<std::unique_ptr<PartWriter>> Store::begin_part(const std::string& owner,
                                                      const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto entry = find(owner, id);
  if (!entry) return fail(entry.error());
  if ((*entry)->upload.status != kPending) return upload_ended((*entry)->upload);
  if ((*entry)->parts.size() >= kMaxParts) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("the upload has {} parts already, send larger ones: {}", kMaxParts, id));
  }
  UploadPart part{.id = random_id(kPartPrefix), .upload_id = id, .created_at = now_s_()};
  auto content = storage::AtomicFile::create(directory_.part_path(id, part.id), 0600);
  if (!content) return fail("storing the part", content.error());
  return std::make_unique<Writer>(*this, std::move(part), std::move(*content));
}

Status Store::reserve(const std::string& upload, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(upload);
  if (found == entries_.end() || found->second.upload.status != kPending) {
    return fail(ErrorCode::kConflict, "the upload has ended meanwhile: " + upload);
  }
  return reserve_bytes(found->second, bytes);
}

void Store::release(const std::string& upload, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(upload); found != entries_.end()) {
    found->second.held_bytes -= bytes;
  }
}

Status Store::add_part(const UploadPart& part, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(part.upload_id);
  if (found != entries_.end() && found->second.upload.status == kPending) {
    found->second.parts[part.id] = bytes;
    return {};
  }
  directory_.remove_part(part.upload_id, part.id);
  return fail(ErrorCode::kConflict, "the upload has ended meanwhile: " + part.upload_id);
}

Result<ChunkedUpload> Store::complete(const std::string& owner, const std::string& id,
                                      const std::vector<std::string>& part_ids,
                                      const std::string& md5) {
  auto upload = begin_completing(owner, id, part_ids);
  if (!upload || upload->status != kPending) return upload;
  const Completing completing(*this, id);
  if (const auto joined = join(*upload, part_ids, md5); !joined) return fail(joined.error());
  const std::lock_guard lock(mutex_);
  UploadEntry& entry = entries_.at(id);  // Still there, since it is marked.
  if (const auto kept = end(entry, "completed"); !kept) return fail(kept.error());
  return entry.upload;
}

/// Waits for another call that joins the same upload. Then the upload is completed already, or it
/// is pending and marked: neither cancelled nor cleaned away until end_completing().
Result<ChunkedUpload> Store::begin_completing(const std::string& owner, const std::string& id,
                                              const std::vector<std::string>& part_ids) {
  std::unique_lock lock(mutex_);
  const auto idle = [&] {
    const auto found = entries_.find(id);
    return found == entries_.end() || found->second.upload.owner != owner ||
           !found->second.completing;
  };
  if (!changed_.wait_for(lock, kCompletingLimit, idle)) {
    return fail(ErrorCode::kUnavailable, "the upload is being completed, ask again: " + id);
  }
  const auto entry = find(owner, id);
  if (!entry) return fail(entry.error());
  ChunkedUpload& upload = (*entry)->upload;
  const std::string digest = digest_of_parts(part_ids);
  if (upload.status == "completed" && upload.parts_digest == digest) return upload;
  if (upload.status != kPending) return upload_ended(upload);
  if (const auto fit = check_parts(**entry, part_ids); !fit) return fail(fit.error());
  // The file's id is durable before the file: the same call after a crash finds that one.
  if (upload.parts_digest != digest) upload.file_id = random_id("file-");
  upload.parts_digest = digest;
  if (const auto kept = directory_.update(upload); !kept) return fail(kept.error());
  (*entry)->completing = true;
  return upload;
}

void Store::end_completing(const std::string& id) {
  const std::lock_guard lock(mutex_);
  entries_.at(id).completing = false;
  changed_.notify_all();
}

/// The long part, without the lock.
Status Store::join(const ChunkedUpload& upload, const std::vector<std::string>& part_ids,
                   const std::string& md5) {
  if (files_.get(upload.owner, upload.file_id)) return {};  // Made before a crash.
  auto file = files_.begin_upload();
  if (!file) return fail(file.error());
  std::vector<fs::path> parts;
  for (const std::string& part : part_ids) parts.push_back(directory_.part_path(upload.id, part));
  const auto digest = join_parts(parts, **file);
  if (!digest) return fail(digest.error());
  if (!md5.empty() && md5 != *digest) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("md5: the bytes that arrived have another one: {}", *digest));
  }
  const auto stored = (*file)->commit({.owner = upload.owner,
                                       .filename = upload.filename,
                                       .purpose = upload.purpose,
                                       .expires_after_s = upload.file_expires_after_s,
                                       .id = upload.file_id});
  if (!stored) return fail(stored.error());
  return {};
}

Result<ChunkedUpload> Store::cancel(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto entry = find(owner, id);
  if (!entry) return fail(entry.error());
  const ChunkedUpload& upload = (*entry)->upload;
  if (upload.status == "cancelled") return upload;
  if (upload.status != kPending) return upload_ended(upload);
  if ((*entry)->completing) {
    return fail(ErrorCode::kConflict, "the upload is being completed: " + id);
  }
  if (const auto kept = end(**entry, "cancelled"); !kept) return fail(kept.error());
  return upload;
}

/// The record first: a crash after it leaves bytes that the next start removes.
Status Store::end(UploadEntry& entry, const char* status) {
  ChunkedUpload ending = entry.upload;
  ending.status = status;
  if (const auto kept = directory_.update(ending); !kept) return kept;
  entry.upload = ending;
  for (const auto& [part, bytes] : entry.parts) directory_.remove_part(ending.id, part);
  entry.parts.clear();
  return {};
}

void Store::remove_expired() {
  const std::lock_guard lock(mutex_);
  clean();
}

void Store::clean() {
  const int64_t now = now_s_();
  for (auto at = entries_.begin(); at != entries_.end();) {
    UploadEntry& entry = at->second;
    const ChunkedUpload& upload = entry.upload;
    if (upload.status == kPending && upload.expires_at <= now && !entry.completing) {
      if (const auto kept = end(entry, "expired"); !kept) {
        log::warning("an expired upload stays for now: " + kept.error().message);
      }
    }
    if (upload.status == kPending || upload.expires_at + kKeepRecord_s > now) {
      ++at;
      continue;
    }
    directory_.remove(upload.id);
    at = entries_.erase(at);
  }
}

Writer::~Writer() {
  if (!committed_) store_.release(part_.upload_id, reserved_);
}

Status Writer::write(std::string_view piece) {
  const auto bytes = static_cast<int64_t>(piece.size());
  if (reserved_ + bytes > UploadStore::kMaxPartBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("data: a part has at most {} bytes", UploadStore::kMaxPartBytes));
  }
  if (const auto free = store_.reserve(part_.upload_id, bytes); !free) return free;
  reserved_ += bytes;
  return content_.write(piece);
}

Result<UploadPart> Writer::commit() {
  if (const auto stored = content_.commit(); !stored) return fail(stored.error());
  if (const auto added = store_.add_part(part_, reserved_); !added) return fail(added.error());
  committed_ = true;
  return part_;
}

}  // namespace

Result<std::unique_ptr<UploadStore>> UploadStore::open(const fs::path& directory, FileStore& files,
                                                       std::function<int64_t()> now_s) {
  auto store = std::make_unique<Store>(directory, files, std::move(now_s));
  if (const auto loaded = store->load(); !loaded) return fail(loaded.error());
  return store;
}

}  // namespace tunefleet::coordinator
