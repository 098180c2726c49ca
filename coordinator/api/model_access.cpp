#include "coordinator/api/model_access.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/api/ids.h"
#include "proto/log.h"
#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr unsigned kSecret = 0600;
constexpr uint64_t kMaxFileBytes = 64 << 20;
constexpr std::chrono::seconds kLockLimit{10};

json to_json(const ModelPermission& permission) {
  json entry{{"id", permission.id},
             {"job", permission.model.job},
             {"tenant", permission.tenant},
             {"created_at", permission.created_at}};
  if (permission.model.step) entry["step"] = *permission.model.step;
  return entry;
}

ModelPermission permission_from(const json& entry) {
  ModelPermission permission{.id = entry.at("id"),
                             .model = {.job = entry.at("job")},
                             .tenant = entry.at("tenant"),
                             .created_at = entry.at("created_at")};
  if (const auto step = entry.find("step"); step != entry.end()) {
    permission.model.step = step->get<int64_t>();
  }
  return permission;
}

}  // namespace

ModelAccess::ModelAccess(std::filesystem::path path, std::function<int64_t()> now_s)
    : path_(std::move(path)), now_s_(std::move(now_s)) {}

Result<std::unique_ptr<ModelAccess>> ModelAccess::open(const std::filesystem::path& path,
                                                       std::function<int64_t()> now_s) {
  std::unique_ptr<ModelAccess> access(new ModelAccess(path, std::move(now_s)));
  access->stamp_ = storage::FileStamp::of(path);
  auto records = access->read();
  if (!records) return fail(records.error());
  access->records_ = std::move(*records);
  return access;
}

Result<std::vector<ModelPermission>> ModelAccess::grant(const MadeModel& model,
                                                        const std::vector<std::string>& tenants) {
  const std::lock_guard lock(mutex_);
  const auto alone = only_writer();
  if (!alone) return fail(alone.error());
  refresh();
  Records records = records_;
  std::vector<ModelPermission> given;
  for (const std::string& tenant : tenants) {
    const auto found = std::find_if(
        records.permissions.begin(), records.permissions.end(),
        [&](const auto& each) { return each.model == model && each.tenant == tenant; });
    if (found == records.permissions.end()) {
      records.permissions.push_back(
          {.id = random_id("cp_"), .model = model, .tenant = tenant, .created_at = now_s_()});
      given.push_back(records.permissions.back());
    } else {
      given.push_back(*found);
    }
  }
  const auto of_model = std::count_if(records.permissions.begin(), records.permissions.end(),
                                      [&](const auto& each) { return each.model == model; });
  if (static_cast<size_t>(of_model) > kMaxPerModel || records.permissions.size() > kMaxInAll) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("a model has at most {} permissions, and there are at most {} in all; "
                            "take some back first",
                            kMaxPerModel, kMaxInAll));
  }
  if (const auto stored = store(std::move(records)); !stored) return fail(stored.error());
  return given;
}

std::vector<ModelPermission> ModelAccess::permissions(const MadeModel& model) const {
  const std::lock_guard lock(mutex_);
  refresh();
  std::vector<ModelPermission> found;
  for (const ModelPermission& each : records_.permissions) {
    if (each.model == model) found.push_back(each);
  }
  return found;
}

std::vector<MadeModel> ModelAccess::granted_to(const std::string& tenant) const {
  const std::lock_guard lock(mutex_);
  refresh();
  std::vector<MadeModel> found;
  for (const ModelPermission& each : records_.permissions) {
    if (each.tenant == tenant) found.push_back(each.model);
  }
  return found;
}

Status ModelAccess::revoke(const MadeModel& model, const std::string& permission) {
  const std::lock_guard lock(mutex_);
  const auto alone = only_writer();
  if (!alone) return fail(alone.error());
  refresh();
  Records records = records_;
  const auto gone = std::erase_if(records.permissions, [&](const ModelPermission& each) {
    return each.model == model && each.id == permission;
  });
  if (gone == 0) {
    return fail(ErrorCode::kNotFound,
                fmt::format("no such permission of this model: {}", permission));
  }
  return store(std::move(records));
}

bool ModelAccess::permits(const MadeModel& model, const std::string& tenant) const {
  const std::lock_guard lock(mutex_);
  refresh();
  return std::any_of(
      records_.permissions.begin(), records_.permissions.end(),
      [&](const auto& each) { return each.model == model && each.tenant == tenant; });
}

Status ModelAccess::mark_deleted(const std::string& job) {
  const std::lock_guard lock(mutex_);
  const auto alone = only_writer();
  if (!alone) return fail(alone.error());
  refresh();
  Records records = records_;
  records.deleted.insert(job);
  std::erase_if(records.permissions, [&](const auto& each) { return each.model.job == job; });
  return store(std::move(records));
}

bool ModelAccess::is_deleted(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  refresh();
  return records_.deleted.contains(job);
}

Result<ModelAccess::Records> ModelAccess::read() const {
  Records records;
  const auto text = storage::read_small_file(path_, kMaxFileBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return records;
  if (!text) return fail("reading the models' permissions", text.error());
  try {
    const json stored = json::parse(*text);
    for (const json& entry : stored.at("permissions")) {
      records.permissions.push_back(permission_from(entry));
    }
    records.deleted = stored.at("deleted").get<std::set<std::string>>();
  } catch (const json::exception& error) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("the file of the models' permissions is damaged; restore it, or remove "
                            "it and give the permissions again: {}: {}",
                            path_.string(), error.what()));
  }
  return records;
}

Result<storage::FileLock> ModelAccess::only_writer() const {
  auto lock_path = path_;
  return storage::FileLock::take(lock_path += ".lock", kLockLimit);
}

/// Writes `records` and only then lets them count.
Status ModelAccess::store(Records records) {
  json permissions = json::array();
  for (const ModelPermission& each : records.permissions) permissions.push_back(to_json(each));
  const json content{{"permissions", permissions}, {"deleted", records.deleted}};
  const auto written = storage::write_file_atomically(path_, content.dump(2) + "\n", kSecret);
  if (!written) return written;
  records_ = std::move(records);
  stamp_ = storage::FileStamp::of(path_);
  return {};
}

void ModelAccess::refresh() const {
  const storage::FileStamp now = storage::FileStamp::of(path_);
  if (now == stamp_) return;
  stamp_ = now;
  auto records = read();
  if (records) {
    records_ = std::move(*records);
  } else {
    log::warning("the models' permissions stay as they were: " + records.error().message);
  }
}

}  // namespace tunefleet::coordinator
