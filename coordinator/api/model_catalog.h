#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// A base model that jobs can start from.
struct CatalogModel {
  std::string name;
  std::filesystem::path path;  ///< Absolute.
  int64_t created_at = 0;      ///< Unix seconds: when it came into the directory.
};

/// The models directory as the API shows it. Looks at the disk each time: a model that was just
/// imported is there.
class ModelCatalog {
 public:
  explicit ModelCatalog(std::filesystem::path directory);

  Result<std::vector<CatalogModel>> list() const;
  /// kNotFound names the models that are there. A path is not a name: clients may be strangers.
  Result<CatalogModel> find(const std::string& name) const;
  const std::filesystem::path& directory() const { return directory_; }

 private:
  std::filesystem::path directory_;
};

}  // namespace tunefleet::coordinator
