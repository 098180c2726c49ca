#include "proto/result.h"

#include <array>

namespace tunefleet {
namespace {

struct NamedCode {
  ErrorCode code;
  std::string_view name;
};

constexpr std::array kCodes{
    NamedCode{ErrorCode::kInvalidArgument, "invalid_argument"},
    NamedCode{ErrorCode::kNotFound, "not_found"},
    NamedCode{ErrorCode::kConflict, "conflict"},
    NamedCode{ErrorCode::kPermissionDenied, "permission_denied"},
    NamedCode{ErrorCode::kResourceExhausted, "resource_exhausted"},
    NamedCode{ErrorCode::kDataLoss, "data_loss"},
    NamedCode{ErrorCode::kUnavailable, "unavailable"},
    NamedCode{ErrorCode::kTimeout, "timeout"},
    NamedCode{ErrorCode::kCancelled, "cancelled"},
    NamedCode{ErrorCode::kInternal, "internal"},
};

}  // namespace

std::string_view error_code_name(ErrorCode code) {
  for (const auto& entry : kCodes) {
    if (entry.code == code) return entry.name;
  }
  return "internal";
}

ErrorCode error_code_from_name(std::string_view name) {
  for (const auto& entry : kCodes) {
    if (entry.name == name) return entry.code;
  }
  return ErrorCode::kInternal;
}

}  // namespace tunefleet
