#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// A CURVE key pair in Z85 (40 characters each, ZeroMQ RFC 32).
struct CurveKeyPair {
  std::string public_key{};
  std::string secret_key{};
};

/// The keys of a fleet, under one directory (0700):
///
///   coordinator.json    {"public", "secret"}, 0600: what agents and ranks recognise the
///   coordinator by node.json           {"server_public", "public", "secret"}, 0600: given to the
///   agent and ranks of this machine allowed/<name>.pub  one public key on a line: who may connect.
///   `node.pub` is node.json's.
///
/// To let another machine in: `make_node_keys(directory, "host-b")`, then carry host-b.json there.

/// Reads the coordinator's key pair, making whatever is missing of the above. A file that is there
/// is never replaced. kPermissionDenied when a secret can be read by others, kDataLoss when a file
/// is not what it should be; both name it.
Result<CurveKeyPair> ensure_fleet_keys(const std::filesystem::path& directory);

/// Makes `<directory>/<name>.json` and allows its key; returns the file. kConflict when it exists.
Result<std::filesystem::path> make_node_keys(const std::filesystem::path& directory,
                                             const std::string& name);

/// The public keys in `<directory>/allowed`. Read at every handshake: adding or removing a file
/// takes effect at once.
std::set<std::string> allowed_keys(const std::filesystem::path& directory);

}  // namespace tunefleet::coordinator
