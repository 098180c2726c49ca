#include "coordinator/api/file_meta.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxMeta = 1 << 20;
constexpr const char* kMetaName = "meta.json";

template <typename T>
std::optional<T> optional_at(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  return found->get<T>();
}

template <typename T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

json to_meta(const StoredFile& file) {
  return {{"id", file.id},
          {"owner", file.owner},
          {"filename", file.filename},
          {"purpose", file.purpose},
          {"status", file.status},
          {"status_details", or_null(file.status_details)},
          {"bytes", file.bytes},
          {"rows", file.rows},
          {"preferences", file.preferences},
          {"first_preference", file.first_preference},
          {"first_supervised", file.first_supervised},
          {"created_at", file.created_at},
          {"expires_at", or_null(file.expires_at)},
          {"sha256", file.sha256}};
}

StoredFile from_meta(const json& meta) {
  return {.id = meta.at("id"),
          .owner = meta.at("owner"),
          .filename = meta.at("filename"),
          .purpose = meta.at("purpose"),
          .status = meta.at("status"),
          .status_details = optional_at<std::string>(meta, "status_details"),
          .bytes = meta.at("bytes"),
          .rows = meta.at("rows"),
          .preferences = meta.value("preferences", int64_t{0}),
          .first_preference = meta.value("first_preference", int64_t{0}),
          .first_supervised = meta.value("first_supervised", int64_t{1}),
          .created_at = meta.at("created_at"),
          .expires_at = optional_at<int64_t>(meta, "expires_at"),
          .sha256 = meta.at("sha256")};
}

}  // namespace

Status write_meta(const std::filesystem::path& folder, const StoredFile& file) {
  const auto text = to_meta(file).dump(2, ' ', false, json::error_handler_t::replace);
  return storage::write_file_atomically(folder / kMetaName, text + "\n", 0600);
}

Result<StoredFile> read_meta(const std::filesystem::path& folder) {
  const auto text = storage::read_small_file(folder / kMetaName, kMaxMeta);
  if (!text) return fail(text.error());
  try {
    StoredFile file = from_meta(json::parse(*text));
    if (file.id == folder.filename()) return file;
    return fail(ErrorCode::kDataLoss, "meta.json names another file: " + file.id);
  } catch (const json::exception& error) {
    return fail(ErrorCode::kDataLoss, fmt::format("meta.json is damaged: {}", error.what()));
  }
}

}  // namespace tunefleet::coordinator
