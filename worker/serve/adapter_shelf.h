#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/swift_model.h"
#include "worker/models/decoder.h"

namespace tunefleet::serve {

/// Adapters that stay loaded on one base model, of which one directory's are active at a time. When
/// there are too many, those not used for the longest time go. One thread.
class AdapterShelf {
 public:
  /// `model` outlives it. `capacity`: directories kept at most, 1 or more.
  AdapterShelf(models::Decoder& model, size_t capacity);

  /// Makes the adapters in `directory` the active ones, and loads them first when they are not on
  /// the shelf; empty: the base alone. On an error (see Swift::from_pretrained) the base is alone.
  Status use(const std::string& directory);

  /// Directories on the shelf, the one used last first.
  std::vector<std::string> directories() const;

 private:
  struct Kept {
    std::string directory;
    std::vector<std::string> names;  ///< Of its adapters on the model, in the order of loading.
  };

  Status load(const std::string& directory);
  Status attach(const std::string& directory, const std::string& prefix);
  void drop_last();

  models::Decoder& model_;
  const size_t capacity_;
  std::unique_ptr<tuners::SwiftModel> swift_;
  std::list<Kept> kept_;  ///< The one used last first.
  int64_t loads_ = 0;     ///< So far; makes names on the model unique.
};

}  // namespace tunefleet::serve
