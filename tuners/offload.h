#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"

namespace tunefleet::tuners {

/// Where the tensors of a deactivated adapter go; the words are ms-swift's.
enum class Offload {
  kNone,  ///< They stay.
  kCpu,   ///< Into main memory.
  kMeta,  ///< Into a nameless temporary file (TMPDIR): they take no memory but what the system
          ///< caches.
};

/// "none" (or ""), "cpu", "meta". kInvalidArgument listing them.
Result<Offload> offload_from_text(std::string_view text);

/// Moves an adapter's tensors out of the way. Tensors keep their identity, so optimizers, and
/// saving, go on working with them: only where their values lie changes.
class OffloadedTensors {
 public:
  /// kResourceExhausted, kPermissionDenied: the temporary file cannot be written; then nothing has
  /// changed.
  static Result<OffloadedTensors> move_out(const Adapter& adapter, Offload offload);
  /// Back to the devices they came from.
  void move_back();
  bool empty() const { return tensors_.empty(); }

 private:
  std::vector<std::pair<at::Tensor, at::Device>> tensors_;
};

}  // namespace tunefleet::tuners
