#pragma once

#include <cstdint>

namespace tunefleet {

/// Version of the messages in proto/wire.proto: what every Envelope carries, and the only one that is understood.
/// Raise it when a change is not one that an older peer can ignore.
inline constexpr uint32_t kWireVersion = 1;

}  // namespace tunefleet
