#include "coordinator/api/file_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <semaphore>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "coordinator/api/file_meta.h"
#include "coordinator/api/ids.h"
#include "coordinator/api/private_directory.h"
#include "proto/dataset_rows.h"
#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/os_error.h"
#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "file-";
constexpr std::string_view kAside = "upload-";
/// Much longer than an upload may pause: the API ends one that sends nothing for 15 s.
constexpr std::chrono::hours kAbandonedAfter{1};

/// Nothing in the folder was written to for kAbandonedAfter.
bool is_abandoned(const fs::path& folder) {
  std::error_code error;
  auto newest = fs::last_write_time(folder, error);
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    newest = std::max(newest, fs::last_write_time(entry.path(), error));
  }
  return !error && fs::file_time_type::clock::now() - newest > kAbandonedAfter;
}

/// How many files are checked at the same time: a row is parsed as a whole, and one of 16 MiB takes
/// half a gigabyte meanwhile. Those that take long do not hold up the others, and small ones go by.
class CheckGate {
 public:
  Result<DatasetSummary> check(const fs::path& path, const std::string& shown_as, int64_t bytes) {
    if (bytes <= kSmall) return check_dataset(path, shown_as);
    auto& gate = bytes <= kLarge ? usual_ : long_;
    gate.acquire();
    const std::unique_ptr<std::counting_semaphore<>, void (*)(std::counting_semaphore<>*)> held(
        &gate, [](auto* taken) { taken->release(); });
    return check_dataset(path, shown_as);
  }

 private:
  static constexpr int64_t kSmall = 64 << 10;
  static constexpr int64_t kLarge = 16 << 20;
  std::counting_semaphore<> usual_{2};
  std::counting_semaphore<> long_{2};
};

class Store;

class Upload final : public FileUpload {
 public:
  Upload(Store& store, fs::path folder, storage::AtomicFile content)
      : store_(store), folder_(std::move(folder)), content_(std::move(content)) {}
  ~Upload() override;

  Status write(std::string_view piece) override;
  Result<StoredFile> commit(const UploadFields& fields) override;

 private:
  Store& store_;
  fs::path folder_;
  storage::AtomicFile content_;
  storage::Sha256 digest_;
};

class Store final : public FileStore {
 public:
  Store(fs::path directory, std::function<int64_t()> now_s)
      : directory_(std::move(directory)), now_s_(std::move(now_s)) {}

  Status load() {
    if (const auto made = make_private_directory(directory_); !made) return made;
    const std::lock_guard lock(mutex_);
    remove_abandoned();
    read_directory();
    return {};
  }

  Result<std::unique_ptr<FileUpload>> begin_upload() override {
    {
      const std::lock_guard lock(mutex_);
      if (fs::file_time_type::clock::now() - cleaned_ > kAbandonedAfter) remove_abandoned();
    }
    const auto folder = directory_ / random_id(kAside, 16);
    if (const auto made = make_private_directory(folder); !made) return fail(made.error());
    auto content = storage::AtomicFile::create(folder / "content", 0600);
    if (!content) return fail("storing the upload", content.error());
    return std::make_unique<Upload>(*this, folder, std::move(*content));
  }

  Result<StoredFile> get(const std::string& owner, const std::string& id) const override {
    const std::lock_guard lock(mutex_);
    const StoredFile* file = is_id(id, kPrefix) ? find(id) : nullptr;
    if (file == nullptr || file->owner != owner || expired(*file)) {
      return fail(ErrorCode::kNotFound, fmt::format("no such file: {}", id));
    }
    return *file;
  }

  std::vector<StoredFile> list(const std::string& owner) const override {
    const std::lock_guard lock(mutex_);
    read_directory();
    std::vector<StoredFile> mine;
    for (const auto& [id, file] : files_) {
      if (file.owner == owner && !expired(file)) mine.push_back(file);
    }
    std::sort(mine.begin(), mine.end(), [](const StoredFile& a, const StoredFile& b) {
      return std::tie(b.created_at, b.id) < std::tie(a.created_at, a.id);
    });
    return mine;
  }

  Status remove(const std::string& owner, const std::string& id) override {
    if (const auto known = get(owner, id); !known) return fail(known.error());
    // Renamed first: a stop in the middle leaves nothing that looks like a file.
    const auto aside = directory_ / random_id(kAside, 16);
    std::error_code error;
    fs::rename(directory_ / id, aside, error);
    if (error == std::errc::no_such_file_or_directory) {
      return fail(ErrorCode::kNotFound, fmt::format("no such file: {}", id));
    }
    if (error) return fail(ErrorCode::kInternal, "cannot remove the file: " + error.message());
    {
      const std::lock_guard lock(mutex_);
      files_.erase(id);
    }
    fs::remove_all(aside, error);
    return {};
  }

  fs::path content_path(const std::string& id) const override {
    return fs::absolute(directory_ / id / "content");
  }

  int64_t now_s() const { return now_s_(); }
  CheckGate& checks() { return checks_; }

  /// Makes a finished upload visible under its id.
  Status adopt(const fs::path& folder, const StoredFile& file) {
    if (const auto written = write_meta(folder, file); !written) return written;
    std::error_code error;
    fs::rename(folder, directory_ / file.id, error);
    if (error) return fail(ErrorCode::kInternal, "cannot keep the file: " + error.message());
    if (const auto synced = storage::fsync_directory(directory_); !synced) return synced;
    const std::lock_guard lock(mutex_);
    files_[file.id] = file;
    return {};
  }

 private:
  bool expired(const StoredFile& file) const {
    return file.expires_at && *file.expires_at <= now_s_();
  }

  // These want mutex_ held. A file never changes once it is there: files_ only spares reading it
  // again, and what it holds counts for no more than the directory says.

  const StoredFile* find(const std::string& id) const {
    const auto folder = directory_ / id;
    std::error_code error;
    if (!fs::is_directory(folder, error)) {
      files_.erase(id);
      return nullptr;
    }
    const auto known = files_.find(id);
    return known == files_.end() ? read(folder) : &known->second;
  }

  void read_directory() const {
    std::map<std::string, StoredFile> gone;
    gone.swap(files_);
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory_, error)) {
      const std::string name = entry.path().filename().string();
      if (!is_id(name, kPrefix)) continue;
      if (auto known = gone.extract(name)) {
        files_.insert(std::move(known));
      } else {
        read(entry.path());
      }
    }
    if (!error) return;
    log::warning(fmt::format("the uploaded files cannot be listed: {}: {}", directory_.string(),
                             error.message()));
    files_.merge(gone);
  }

  const StoredFile* read(const fs::path& folder) const {
    auto file = read_meta(folder);
    if (file) return &(files_[file->id] = std::move(*file));
    if (file.error().code == ErrorCode::kNotFound) return nullptr;  // Removed this moment.
    if (unusable_.insert(folder.filename()).second) {
      log::warning(fmt::format("an uploaded file cannot be used: {}: {}", folder.string(),
                               file.error().message));
    }
    return nullptr;
  }

  /// What an interrupted upload or removal left, once it is too old to be another process' that is
  /// under way.
  void remove_abandoned() {
    cleaned_ = fs::file_time_type::clock::now();
    std::error_code error;
    std::vector<fs::path> gone;
    for (const auto& entry : fs::directory_iterator(directory_, error)) {
      const bool aside = entry.path().filename().string().starts_with(kAside);
      if (aside && is_abandoned(entry.path())) gone.push_back(entry.path());
    }
    for (const auto& path : gone) fs::remove_all(path, error);
  }

  fs::path directory_;
  std::function<int64_t()> now_s_;
  CheckGate checks_;
  mutable std::mutex mutex_;
  fs::file_time_type cleaned_{};
  mutable std::map<std::string, StoredFile> files_;  ///< By id, as last read.
  mutable std::set<std::string> unusable_;           ///< Told in the log already.
};

Upload::~Upload() {
  std::error_code error;
  fs::remove_all(folder_, error);
}

Status Upload::write(std::string_view piece) {
  digest_.update(piece);
  return content_.write(piece);
}

Result<StoredFile> Upload::commit(const UploadFields& fields) {
  if (const auto stored = content_.commit(); !stored) return fail(stored.error());
  StoredFile file{.id = fields.id.empty() ? random_id(kPrefix) : fields.id,
                  .owner = fields.owner,
                  .filename = fields.filename,
                  .purpose = fields.purpose,
                  .status = "processed",
                  .status_details = std::nullopt,
                  .bytes = static_cast<int64_t>(content_.bytes_written()),
                  .rows = 0,
                  .preferences = 0,
                  .first_preference = 0,
                  .first_supervised = 0,
                  .created_at = store_.now_s(),
                  .expires_at = std::nullopt,
                  .sha256 = digest_.hex()};
  if (fields.expires_after_s) file.expires_at = file.created_at + *fields.expires_after_s;
  const auto summary = store_.checks().check(folder_ / "content", fields.filename, file.bytes);
  if (summary) {
    file.rows = summary->rows;
    file.preferences = summary->preferences;
    file.first_preference = summary->first_preference;
    file.first_supervised = summary->first_supervised;
  } else {
    file.status = "error";
    file.status_details = file.bytes == 0 ? fmt::format("the file is empty: {}", fields.filename)
                                          : summary.error().message;
  }
  if (const auto kept = store_.adopt(folder_, file); !kept) return fail(kept.error());
  return file;
}

}  // namespace

Result<std::unique_ptr<FileStore>> FileStore::open(const fs::path& directory,
                                                   std::function<int64_t()> now_s) {
  auto store = std::make_unique<Store>(directory, std::move(now_s));
  if (const auto loaded = store->load(); !loaded) return fail(loaded.error());
  return store;
}

}  // namespace tunefleet::coordinator
