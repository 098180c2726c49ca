#pragma once

#include <cstdint>

#include "coordinator/api/api_error.h"
#include "coordinator/api/http.h"
#include "coordinator/api/multipart_reader.h"

namespace tunefleet::coordinator {

/// Reads a multipart form whose file has at most `max_file_bytes`, handing its parts to `visitor`.
/// An error of the visitor comes back as to_storing_error() says it; a body that is cut short, too
/// slow or too long as 400, 408 or 413.
ApiResult<void> read_form_body(HttpRequest& request, uint64_t max_file_bytes,
                               MultipartVisitor visitor);

/// An error met while storing: a full disk is ours to mend (507), not a request too large.
ApiError to_storing_error(const Error& error);

/// `expires_after` of a file: 3600 to 2592000 seconds.
ApiResult<void> check_file_expiry(int64_t seconds);

}  // namespace tunefleet::coordinator
