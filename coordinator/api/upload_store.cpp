#include "coordinator/api/upload_store.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "coordinator/api/ids.h"
#include "coordinator/api/part_joiner.h"
#include "coordinator/api/upload_rules.h"
#include "coordinator/api/upload_table.h"
#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUploadPrefix = "upload_";
constexpr std::string_view kPartPrefix = "part_";
constexpr const char* kPending = "pending";
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
  int64_t reserved_ = 0;  ///< Counted in the entry's arriving_bytes.
};

class Store final : public UploadStore {
 public:
  Store(fs::path directory, FileStore& files, std::function<int64_t()> now_s)
      : files_(files),
        now_s_(now_s),
        table_(std::move(directory), std::move(now_s)),
        directory_(table_.directory()) {}
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
  Status check_pending(const std::string& upload);
  void remove_part(const UploadPart& part) { directory_.remove_part(part.upload_id, part.id); }
  void end_completing(const std::string& id);

 private:
  Status mark_completing(const std::string& owner, const std::string& id);
  Result<ChunkedUpload> begin_joining(const std::string& owner, const std::string& id,
                                      const std::vector<std::string>& part_ids);
  Status join(const ChunkedUpload& upload, const std::vector<std::string>& part_ids,
              const std::string& md5);

  FileStore& files_;
  std::function<int64_t()> now_s_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  UploadTable table_;                 ///< Guarded by mutex_.
  const UploadDirectory& directory_;  ///< Any thread.
  std::thread cleaner_;
};

/// Ends the mark of mark_completing(), whatever happens.
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
  if (const auto ids = directory_.ids(); !ids) return fail(ids.error());
  directory_.remove_broken();
  remove_expired();
  cleaner_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kCleanEvery, [this] { return stopping_; })) table_.clean();
  });
  return {};
}

Result<ChunkedUpload> Store::create(const ChunkedUpload& wish) {
  if (wish.bytes < 1 || wish.bytes > kMaxFileBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("bytes: must be from 1 to {}: {}", kMaxFileBytes, wish.bytes));
  }
  const std::lock_guard lock(mutex_);
  table_.clean();
  if (const auto share = check_share(table_.entries(), wish.owner, wish.bytes); !share) {
    return fail(share.error());
  }
  ChunkedUpload upload = wish;
  upload.id = random_id(kUploadPrefix);
  upload.created_at = now_s_();
  upload.expires_at = upload.created_at + kLifetime_s;
  upload.status = kPending;
  if (const auto kept = directory_.create(upload); !kept) return fail(kept.error());
  return upload;
}

Result<std::unique_ptr<PartWriter>> Store::begin_part(const std::string& owner,
                                                      const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto entry = table_.find(owner, id);
  if (!entry) return fail(entry.error());
  if ((*entry)->upload.status != kPending) return upload_ended((*entry)->upload);
  directory_.refresh_parts(**entry);
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
  const auto found = table_.entries().find(upload);
  if (found == table_.entries().end() || found->second.upload.status != kPending) {
    return fail(ErrorCode::kConflict, "the upload has ended meanwhile: " + upload);
  }
  return reserve_bytes(found->second, bytes);
}

void Store::release(const std::string& upload, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (const auto found = table_.entries().find(upload); found != table_.entries().end()) {
    found->second.arriving_bytes -= bytes;
  }
}

Status Store::check_pending(const std::string& upload) {
  const std::lock_guard lock(mutex_);
  const UploadEntry* entry = table_.read(upload);
  if (entry != nullptr && entry->upload.status == kPending) return {};
  return fail(ErrorCode::kConflict, "the upload has ended meanwhile: " + upload);
}

Result<ChunkedUpload> Store::complete(const std::string& owner, const std::string& id,
                                      const std::vector<std::string>& part_ids,
                                      const std::string& md5) {
  if (const auto marked = mark_completing(owner, id); !marked) return fail(marked.error());
  const Completing completing(*this, id);
  const auto alone = directory_.lock(id, kCompletingLimit);
  if (!alone) return fail(alone.error());
  auto upload = begin_joining(owner, id, part_ids);
  if (!upload || upload->status != kPending) return upload;
  if (const auto joined = join(*upload, part_ids, md5); !joined) return fail(joined.error());
  const std::lock_guard lock(mutex_);
  UploadEntry& entry = table_.entries().at(id);  // Still there, since it is marked.
  if (const auto kept = table_.end(entry, "completed"); !kept) return fail(kept.error());
  return entry.upload;
}

/// Waits for another call of this process that joins the same upload.
Status Store::mark_completing(const std::string& owner, const std::string& id) {
  std::unique_lock lock(mutex_);
  if (const auto entry = table_.find(owner, id); !entry) return fail(entry.error());
  const auto idle = [&] {
    const auto found = table_.entries().find(id);
    return found == table_.entries().end() || !found->second.completing;
  };
  if (!changed_.wait_for(lock, kCompletingLimit, idle)) {
    return fail(ErrorCode::kUnavailable, "the upload is being completed, ask again: " + id);
  }
  const auto entry = table_.find(owner, id);
  if (!entry) return fail(entry.error());
  (*entry)->completing = true;
  return {};
}

/// Wants the upload's lock: it is completed already, or pending and ends in no other way until the
/// lock is given back.
Result<ChunkedUpload> Store::begin_joining(const std::string& owner, const std::string& id,
                                           const std::vector<std::string>& part_ids) {
  const std::lock_guard lock(mutex_);
  const auto entry = table_.find(owner, id);
  if (!entry) return fail(entry.error());
  ChunkedUpload& upload = (*entry)->upload;
  const std::string digest = digest_of_parts(part_ids);
  if (upload.status == "completed" && upload.parts_digest == digest) return upload;
  if (upload.status != kPending) return upload_ended(upload);
  directory_.refresh_parts(**entry);
  if (const auto fit = check_parts(**entry, part_ids); !fit) return fail(fit.error());
  // The file's id is durable before the file: the same call after a crash finds that one.
  if (upload.parts_digest != digest) upload.file_id = random_id("file-");
  upload.parts_digest = digest;
  if (const auto kept = directory_.update(upload); !kept) return fail(kept.error());
  return upload;
}

void Store::end_completing(const std::string& id) {
  const std::lock_guard lock(mutex_);
  table_.entries().at(id).completing = false;
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
  const auto entry = table_.find(owner, id);
  if (!entry) return fail(entry.error());
  const ChunkedUpload& upload = (*entry)->upload;
  if (upload.status == "cancelled") return upload;
  if (upload.status != kPending) return upload_ended(upload);
  const auto alone = directory_.try_lock(id);
  if (!alone) return fail(alone.error());
  if (!*alone) return fail(ErrorCode::kConflict, "the upload is being completed: " + id);
  UploadEntry* still = table_.read(id);  // It may have ended before the lock was ours.
  if (still == nullptr) return fail(ErrorCode::kNotFound, "no such upload: " + id);
  if (still->upload.status != kPending) return upload_ended(still->upload);
  if (const auto kept = table_.end(*still, "cancelled"); !kept) return fail(kept.error());
  return still->upload;
}

void Store::remove_expired() {
  const std::lock_guard lock(mutex_);
  table_.clean();
}

Writer::~Writer() { store_.release(part_.upload_id, reserved_); }

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

/// The end of the upload removes what is there; what comes after it is removed here.
Result<UploadPart> Writer::commit() {
  const auto stored = content_.commit();
  if (const auto pending = store_.check_pending(part_.upload_id); !pending) {
    store_.remove_part(part_);
    return fail(pending.error());
  }
  if (!stored) return fail(stored.error());
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
