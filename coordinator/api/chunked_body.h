#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>

#include "coordinator/api/http.h"

namespace tunefleet::coordinator {

/// Reads at most `size` bytes; 0 at the connection's end, -1 after a failure.
using ByteSource = std::function<ssize_t(char* data, size_t size)>;

/// Hands over the bytes of a body that comes in chunks. Bounded memory: a line is at most 256
/// bytes. Strict where servers disagree, because that is how a request is smuggled past a proxy:
/// sizes are hexadecimal digits and nothing else, lines end in CRLF, a chunk is as long as it says;
/// extensions are passed over, trailers refused. kInvalidArgument for all that, for a body that is
/// cut short, and when the receiver says stop. Source: RFC 9112, section 7.1.
Status read_chunked_body(const ByteSource& source, const BodyReceiver& receive);

}  // namespace tunefleet::coordinator
