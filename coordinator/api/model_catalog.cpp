#include "coordinator/api/model_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;

int64_t unix_seconds(fs::file_time_type time) {
  const auto moment = std::chrono::file_clock::to_sys(time).time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(moment).count();
}

}  // namespace

ModelCatalog::ModelCatalog(fs::path directory) : directory_(fs::absolute(std::move(directory))) {}

Result<std::vector<CatalogModel>> ModelCatalog::list() const {
  std::vector<CatalogModel> models;
  std::error_code error;
  if (!fs::exists(directory_, error)) return models;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    std::error_code ignored;
    if (!fs::exists(entry.path() / "config.json", ignored)) continue;
    models.push_back({.name = entry.path().filename().string(),
                      .path = entry.path(),
                      .created_at = unix_seconds(fs::last_write_time(entry.path(), ignored))});
  }
  if (error) return storage::fail_os("cannot list the models directory", directory_, error);
  std::sort(models.begin(), models.end(),
            [](const CatalogModel& a, const CatalogModel& b) { return a.name < b.name; });
  return models;
}

Result<CatalogModel> ModelCatalog::find(const std::string& name) const {
  const auto models = list();
  if (!models) return fail(models.error());
  std::string names;
  for (const CatalogModel& model : *models) {
    if (model.name == name) return model;
    names += (names.empty() ? "" : ", ") + model.name;
  }
  return fail(
      ErrorCode::kNotFound,
      fmt::format("no such model: {}; there are: {}", name,
                  names.empty() ? "none, bring one with `tunefleet models import`" : names));
}

}  // namespace tunefleet::coordinator
