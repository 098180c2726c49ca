#include "coordinator/fleet/curve_keys.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <zmq.h>

#include <array>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "storage/atomic_file.h"
#include "storage/file_lock.h"

namespace tunefleet::coordinator {
namespace {

constexpr size_t kZ85Size = 40;
constexpr unsigned kSecretMode = 0600;
constexpr std::chrono::seconds kLockLimit{
    10};  ///< Of several processes that start, one makes them.

Result<CurveKeyPair> new_key_pair() {
  std::array<char, kZ85Size + 1> public_key{};
  std::array<char, kZ85Size + 1> secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
    return fail(ErrorCode::kInternal,
                "this libzmq was built without CURVE, install Debian's libzmq5");
  }
  return CurveKeyPair{.public_key = public_key.data(), .secret_key = secret_key.data()};
}

Result<nlohmann::json> read_secret(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && (info.st_mode & 077U) != 0) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("key file can be read by others, chmod 600 it: {}", path.string()));
  }
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();  // An iterator over the buffer would throw where reading fails.
  auto object = nlohmann::json::parse(text.str(), nullptr, false);
  for (const char* key : {"public", "secret"}) {
    if (!object.is_object() || !object.contains(key) || !object[key].is_string() ||
        object[key].get_ref<const std::string&>().size() != kZ85Size) {
      return fail(
          ErrorCode::kDataLoss,
          fmt::format("key file is not {{\"public\", \"secret\"}} in Z85; remove it to have "
                      "a new one made (nodes then need new files too): {}",
                      path.string()));
    }
  }
  return object;
}

Status allow(const std::filesystem::path& directory, const std::string& name,
             const std::string& public_key) {
  return storage::write_file_atomically(directory / "allowed" / (name + ".pub"), public_key + "\n");
}

/// Makes <name>.json for a node that knows the coordinator by `server_public`.
Status write_node(const std::filesystem::path& directory, const std::string& name,
                  const std::string& server_public) {
  const auto keys = new_key_pair();
  if (!keys) return fail(keys.error());
  const nlohmann::json object{
      {"server_public", server_public}, {"public", keys->public_key}, {"secret", keys->secret_key}};
  if (auto allowed = allow(directory, name, keys->public_key); !allowed) return allowed;
  return storage::write_file_atomically(directory / (name + ".json"), object.dump(2) + "\n",
                                        kSecretMode);
}

Result<CurveKeyPair> ensure_coordinator(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    const auto keys = new_key_pair();
    if (!keys) return fail(keys.error());
    const nlohmann::json object{{"public", keys->public_key}, {"secret", keys->secret_key}};
    const auto written = storage::write_file_atomically(path, object.dump(2) + "\n", kSecretMode);
    if (!written) return fail(written.error());
  }
  const auto object = read_secret(path);
  if (!object) return fail(object.error());
  return CurveKeyPair{.public_key = object->at("public"), .secret_key = object->at("secret")};
}

}  // namespace

Result<CurveKeyPair> ensure_fleet_keys(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory / "allowed", error);
  if (!error) std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  if (error) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("cannot make the directory of keys: {} ({})", directory.string(),
                            error.message()));
  }
  const auto alone = storage::FileLock::take(directory / "keys.lock", kLockLimit);
  if (!alone) return fail(alone.error());
  auto coordinator = ensure_coordinator(directory / "coordinator.json");
  if (!coordinator) return coordinator;
  const auto node = directory / "node.json";
  if (!std::filesystem::exists(node)) {
    const auto written = write_node(directory, "node", coordinator->public_key);
    if (!written) return fail(written.error());
  }
  const auto object = read_secret(node);
  if (!object) return fail(object.error());
  if (object->value("server_public", "") != coordinator->public_key) {
    return fail(
        ErrorCode::kDataLoss,
        fmt::format("key file is for another coordinator, remove it to have it made anew: {}",
                    node.string()));
  }
  return coordinator;
}

Result<std::filesystem::path> make_node_keys(const std::filesystem::path& directory,
                                             const std::string& name) {
  const auto coordinator = ensure_fleet_keys(directory);
  if (!coordinator) return fail(coordinator.error());
  const auto path = directory / (name + ".json");
  if (name.empty() || name.find('/') != name.npos || std::filesystem::exists(path)) {
    return fail(
        ErrorCode::kConflict,
        fmt::format("a node of that name has keys already, or it is no name: {}", path.string()));
  }
  const auto written = write_node(directory, name, coordinator->public_key);
  if (!written) return fail(written.error());
  return path;
}

std::set<std::string> allowed_keys(const std::filesystem::path& directory) {
  std::set<std::string> keys;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory / "allowed", error), end;
       !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() != ".pub") continue;
    std::ifstream in(entry->path());
    std::string key;
    if (std::getline(in, key) && key.size() == kZ85Size) keys.insert(key);
  }
  return keys;
}

}  // namespace tunefleet::coordinator
