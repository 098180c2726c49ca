#pragma once

#include <httplib.h>

namespace tunefleet::coordinator {

/// True when another server could see another end of this request, which is how one is smuggled
/// past a proxy: two lengths, a length that is no number, an unknown coding, a blank in a header's
/// name. Source: RFC 9112, sections 5.1 and 6.3.
bool is_framing_ambiguous(const httplib::Request& request);

/// Whether a request that may have a body does not say how long it is: what follows on the
/// connection is then not taken for another request. (An empty Content-Length is none to httplib.)
bool lacks_length(const httplib::Request& request);

}  // namespace tunefleet::coordinator
