#include "coordinator/api/file_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

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
using nlohmann::json;

constexpr std::string_view kAside = "upload-";
constexpr uint64_t kMaxMeta = 1 << 20;

template <typename T>
std::optional<T> optional_at(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  return found->get<T>();
}

template <typename T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

json to_meta(const StoredFile& file) {
  return {{"id", file.id},
          {"owner", file.owner},
          {"filename", file.filename},
          {"purpose", file.purpose},
          {"status", file.status},
          {"status_details", or_null(file.status_details)},
          {"bytes", file.bytes},
          {"rows", file.rows},
          {"preferences", file.preferences},
          {"first_preference", file.first_preference},
          {"first_supervised", file.first_supervised},
          {"created_at", file.created_at},
          {"expires_at", or_null(file.expires_at)},
          {"sha256", file.sha256}};
}

StoredFile from_meta(const json& meta) {
  return {.id = meta.at("id"),
          .owner = meta.at("owner"),
          .filename = meta.at("filename"),
          .purpose = meta.at("purpose"),
          .status = meta.at("status"),
          .status_details = optional_at<std::string>(meta, "status_details"),
          .bytes = meta.at("bytes"),
          .rows = meta.at("rows"),
          .preferences = meta.value("preferences", int64_t{0}),
          .first_preference = meta.value("first_preference", int64_t{0}),
          .first_supervised = meta.value("first_supervised", int64_t{1}),
          .created_at = meta.at("created_at"),
          .expires_at = optional_at<int64_t>(meta, "expires_at"),
          .sha256 = meta.at("sha256")};
}

Status write_meta(const fs::path& folder, const StoredFile& file) {
  const auto text = to_meta(file).dump(2, ' ', false, json::error_handler_t::replace);
  return storage::write_file_atomically(folder / "meta.json", text + "\n", 0600);
}

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
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory_, error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(kAside)) {
        fs::remove_all(entry.path(), error);
      } else if (is_id(name, "file-")) {
        load_file(entry.path());
      }
    }
    return {};
  }

  Result<std::unique_ptr<FileUpload>> begin_upload() override {
    const auto folder = directory_ / random_id(kAside, 16);
    if (const auto made = make_private_directory(folder); !made) return fail(made.error());
    auto content = storage::AtomicFile::create(folder / "content", 0600);
    if (!content) return fail("storing the upload", content.error());
    return std::make_unique<Upload>(*this, folder, std::move(*content));
  }

  Result<StoredFile> get(const std::string& owner, const std::string& id) const override {
    const std::lock_guard lock(mutex_);
    const auto found = files_.find(id);
    if (found == files_.end() || found->second.owner != owner || expired(found->second)) {
      return fail(ErrorCode::kNotFound, fmt::format("no such file: {}", id));
    }
    return found->second;
  }

  std::vector<StoredFile> list(const std::string& owner) const override {
    const std::lock_guard lock(mutex_);
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

  void load_file(const fs::path& folder) {
    const auto text = storage::read_small_file(folder / "meta.json", kMaxMeta);
    try {
      if (!text) throw std::runtime_error(text.error().message);
      StoredFile file = from_meta(json::parse(*text));
      if (file.id != folder.filename()) throw std::runtime_error("it names another file");
      files_[file.id] = std::move(file);
    } catch (const std::exception& error) {
      log::warning(
          fmt::format("an uploaded file cannot be used: {}: {}", folder.string(), error.what()));
    }
  }

  fs::path directory_;
  std::function<int64_t()> now_s_;
  mutable std::mutex mutex_;
  std::map<std::string, StoredFile> files_;
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
  StoredFile file{.id = fields.id.empty() ? random_id("file-") : fields.id,
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
  const auto summary = check_dataset(folder_ / "content", fields.filename);
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
