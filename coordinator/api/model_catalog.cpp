#include "coordinator/api/model_catalog.h"

#include <fmt/format.h>

#include <utility>

#include "storage/model_store.h"

namespace tunefleet::coordinator {

ModelCatalog::ModelCatalog(std::filesystem::path directory)
    : directory_(std::filesystem::absolute(std::move(directory))) {}

Result<std::vector<CatalogModel>> ModelCatalog::list() const {
  const auto entries = storage::list_models(directory_);
  if (!entries) return fail(entries.error());
  std::vector<CatalogModel> models;
  for (const storage::ModelEntry& entry : *entries) {
    models.push_back({.name = entry.name,
                      .path = std::filesystem::absolute(entry.path),
                      .created_at = entry.modified_ms / 1000});
  }
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
  if (names.empty()) names = "none, bring one with `tunefleet models import`";
  return fail(ErrorCode::kNotFound, fmt::format("no such model: {}; there are: {}", name, names));
}

}  // namespace tunefleet::coordinator
