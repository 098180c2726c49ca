#include "coordinator/api/form_body.h"

#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr uint64_t kMaxOverhead = 64 << 10;  // Of the form around the file.
constexpr int64_t kMinExpiry_s = 3'600;
constexpr int64_t kMaxExpiry_s = 2'592'000;

}  // namespace

ApiError to_storing_error(const Error& error) {
  ApiError api = to_api_error(error);
  if (error.code == ErrorCode::kResourceExhausted) {
    api.status = 507;
    api.type = "server_error";
    api.may_retry = false;
  }
  return api;
}

ApiResult<void> read_form_body(HttpRequest& request, uint64_t max_file_bytes,
                               MultipartVisitor visitor) {
  const auto boundary = MultipartReader::boundary_of(request.header("content-type"));
  if (!boundary) return api_fail(to_api_error(boundary.error()));
  MultipartReader reader(*boundary, std::move(visitor));
  Status parsed;
  const auto read = request.read_body(max_file_bytes + kMaxOverhead, [&](std::string_view piece) {
    parsed = reader.feed(piece);
    return parsed.has_value();
  });
  if (!parsed) return api_fail(to_storing_error(parsed.error()));
  if (!read) {
    ApiError error = to_api_error(read.error());
    if (read.error().code == ErrorCode::kTimeout) error.status = 408;
    return api_fail(std::move(error));
  }
  if (const auto whole = reader.finish(); !whole) return api_fail(to_api_error(whole.error()));
  return {};
}

ApiResult<void> check_file_expiry(int64_t seconds) {
  if (seconds >= kMinExpiry_s && seconds <= kMaxExpiry_s) return {};
  return api_fail(bad_request("must be a number from 3600 to 2592000", "expires_after.seconds"));
}

}  // namespace tunefleet::coordinator
